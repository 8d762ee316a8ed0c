//! Which tables a query reads, by name.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{ObjectName, Query, TableFactor, Visit, Visitor};

use crate::parse::{window_function, window_input};
use crate::statement::fold;

/// Names in `FROM` clauses at any depth.
#[derive(Debug, Default)]
pub(crate) struct Relations {
    pub(crate) tables: Vec<ObjectName>,
    /// Table functions that are no window functions.
    pub(crate) functions: Vec<ObjectName>,
    /// Names defined by `WITH` anywhere in the query.
    pub(crate) with_names: BTreeSet<String>,
}

pub(crate) fn relations_of(query: &Query) -> Relations {
    let mut relations = Relations::default();
    let _ = Visit::visit(query, &mut relations);
    relations
}

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        self.with_names.extend(ctes.map(|cte| fold(&cte.alias.name)));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { name, args: None, .. } => self.tables.push(name.clone()),
            TableFactor::Table { name, args: Some(args), .. } if window_function(name).is_some() => {
                self.tables.extend(window_input(args));
            }
            TableFactor::Table { name, args: Some(_), .. } => self.functions.push(name.clone()),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

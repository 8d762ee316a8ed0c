//! Queries and views: every table that they read exists.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{self, ObjectName, Spanned as _};

use super::relations::relations_of;
use super::{Binder, Kind};
use crate::diagnostic::Diagnostic;
use crate::parse::WINDOW_FUNCTIONS;
use crate::statement::{CreateView, Name, fold};
use crate::suggest;

impl Binder<'_> {
    pub(super) fn bind_view(&mut self, create: &CreateView) {
        let is_sound = self.check_query(&create.query);
        let name = &create.name.value;
        if create.or_replace {
            self.pipeline.views.retain(|(earlier, ..)| earlier != name);
        }
        self.check_column_names(&create.columns);
        if is_sound {
            let columns = create.columns.iter().map(|column| column.value.clone()).collect();
            self.pipeline.views.push((name.clone(), columns, create.query.clone()));
        }
        self.views_so_far.insert(name.clone());
    }

    fn check_column_names(&mut self, columns: &[Name]) {
        for (index, column) in columns.iter().enumerate() {
            if columns[..index].iter().any(|earlier| earlier.value == column.value) {
                self.found.push(Diagnostic::error(column.span, format!("column '{}' is named twice", column.value)));
            }
        }
    }

    /// Checks what the query reads and marks it as read. Whether all of it is there; what failed to be bound itself was
    /// reported then.
    pub(super) fn check_query(&mut self, query: &ast::Query) -> bool {
        let relations = relations_of(query);
        let mut is_sound = true;
        for table in &relations.tables {
            is_sound &= self.check_table(table, &relations.with_names);
        }
        for function in &relations.functions {
            is_sound &= self.check_table_function(function);
        }
        is_sound
    }

    fn check_table(&mut self, table: &ObjectName, with_names: &BTreeSet<String>) -> bool {
        let span = table.span();
        let Some(ident) = single_name(table) else {
            self.found.push(
                Diagnostic::error(span, format!("unknown table '{table}'"))
                    .with_hint("a pipeline has one flat space of names: write the name alone"),
            );
            return false;
        };
        let name = fold(ident);
        let is_with = with_names.contains(&name);
        let Some(declared) = self.names.get_mut(&name).filter(|declared| declared.kind != Kind::Sink) else {
            if !is_with && !self.incomplete {
                self.found.push(self.unknown_table(ident, &name, table));
            }
            return is_with;
        };
        declared.read = true;
        match declared.kind {
            Kind::View if !self.views_so_far.contains(&name) && !is_with => {
                let message = format!("view '{name}' is used before it is declared");
                self.found.push(Diagnostic::error(span, message).with_hint("move its CREATE VIEW up"));
                false
            }
            Kind::View => is_with || self.pipeline.views.iter().any(|(view, ..)| *view == name),
            _ => is_with || self.pipeline.sources.contains_key(&name),
        }
    }

    fn unknown_table(&self, ident: &ast::Ident, name: &str, table: &ObjectName) -> Diagnostic {
        let span = table.span();
        if ident.quote_style == Some('\'') {
            return Diagnostic::error(
                span,
                format!("the file '{}' cannot be read directly in a pipeline", ident.value),
            )
            .with_hint("declare it: CREATE SOURCE name (...) WITH (connector = 'files', path = '...')");
        }
        let known = self.names_of(&[Kind::Source, Kind::View]);
        let hint = match self.names.get(name) {
            Some(_) => Some(format!("'{name}' is a sink; sinks cannot be read")),
            None => suggest::hint(name, known.iter().copied(), "sources and views of this script"),
        };
        Diagnostic::error(span, format!("unknown table '{name}'")).with_hint_if(hint)
    }

    fn check_table_function(&mut self, function: &ObjectName) -> bool {
        let name = single_name(function).map_or_else(|| function.to_string(), fold);
        if self.state.table_functions().contains_key(name.as_str()) {
            return true;
        }
        let known = WINDOW_FUNCTIONS.iter().map(|(name, _)| *name);
        let hint = suggest::hint(&name, known, "window functions");
        self.found
            .push(Diagnostic::error(function.span(), format!("unknown table function '{name}'")).with_hint_if(hint));
        false
    }
}

fn single_name(name: &ObjectName) -> Option<&ast::Ident> {
    match name.0.as_slice() {
        [part] => part.as_ident(),
        _ => None,
    }
}

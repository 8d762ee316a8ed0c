//! Queries and views: every table that they read exists.

use datafusion::sql::sqlparser::ast::{self, ObjectName, Spanned as _};

use super::relations::relations_of;
use super::{Binder, Kind};
use crate::diagnostic::Diagnostic;
use crate::parse::WINDOW_FUNCTIONS;
use crate::statement::{CreateView, Name, fold};
use crate::suggest;

impl Binder<'_> {
    pub(super) fn bind_view(&mut self, create: &CreateView) {
        self.check_query(&create.query);
        let name = &create.name.value;
        if create.or_replace {
            self.pipeline.views.retain(|(earlier, ..)| earlier != name);
        }
        self.check_column_names(&create.columns);
        let columns = create.columns.iter().map(|column| column.value.clone()).collect();
        self.pipeline.views.push((name.clone(), columns, create.query.clone()));
        self.views_so_far.insert(name.clone());
    }

    fn check_column_names(&mut self, columns: &[Name]) {
        for (index, column) in columns.iter().enumerate() {
            if columns[..index].iter().any(|earlier| earlier.value == column.value) {
                self.found.push(Diagnostic::error(column.span, format!("column '{}' is named twice", column.value)));
            }
        }
    }

    /// Checks what the query reads and marks it as read.
    pub(super) fn check_query(&mut self, query: &ast::Query) {
        let relations = relations_of(query);
        for table in &relations.tables {
            self.check_table(table, &relations.with_names);
        }
        for function in &relations.functions {
            self.check_table_function(function);
        }
    }

    fn check_table(&mut self, table: &ObjectName, with_names: &std::collections::BTreeSet<String>) {
        let span = table.span();
        let Some(ident) = single_name(table) else {
            self.found.push(
                Diagnostic::error(span, format!("unknown table '{table}'"))
                    .with_hint("a pipeline has one flat space of names: write the name alone"),
            );
            return;
        };
        let name = fold(ident);
        if let Some(declared) = self.names.get_mut(&name).filter(|declared| declared.kind != Kind::Sink) {
            declared.read = true;
            let is_later = declared.kind == Kind::View && !self.views_so_far.contains(&name);
            if is_later && !with_names.contains(&name) {
                let message = format!("view '{name}' is used before it is declared");
                self.found.push(Diagnostic::error(span, message).with_hint("move its CREATE VIEW up"));
            }
            return;
        }
        if with_names.contains(&name) {
            return;
        }
        self.found.push(self.unknown_table(ident, &name, table));
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

    fn check_table_function(&mut self, function: &ObjectName) {
        let name = single_name(function).map_or_else(|| function.to_string(), fold);
        if self.state.table_functions().contains_key(name.as_str()) {
            return;
        }
        let known = WINDOW_FUNCTIONS.iter().map(|(name, _)| *name);
        let hint = suggest::hint(&name, known, "window functions");
        self.found
            .push(Diagnostic::error(function.span(), format!("unknown table function '{name}'")).with_hint_if(hint));
    }
}

fn single_name(name: &ObjectName) -> Option<&ast::Ident> {
    match name.0.as_slice() {
        [part] => part.as_ident(),
        _ => None,
    }
}

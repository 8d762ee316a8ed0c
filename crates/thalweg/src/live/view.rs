//! The table a screen shows of a growing result: the newest row of each key, or the newest rows.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::exit::Failure;
use crate::output::rows::table_of;
use crate::output::table::Table;

/// How rows of the result become rows on the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// One line per value of these columns, replaced in place by newer rows.
    LatestPer(Vec<String>),
    /// The newest rows, newest first.
    Newest,
}

/// Rows on screen, bounded by `rows_max`: beyond it the oldest line goes.
#[derive(Debug)]
pub struct View {
    shape: Shape,
    /// Column to sort by, largest first; by key otherwise.
    sort: Option<String>,
    rows_max: usize,
    table: Table,
    /// Key to index in `table.rows`.
    index: HashMap<Vec<String>, usize>,
    /// Counts rows as they arrive; `touched[i]` is when line `i` was last changed.
    arrivals: u64,
    touched: Vec<u64>,
}

impl View {
    pub fn new(shape: Shape, sort: Option<String>, rows_max: usize) -> Self {
        Self { shape, sort, rows_max, table: Table::default(), index: HashMap::new(), arrivals: 0, touched: Vec::new() }
    }

    /// Rows that ever arrived.
    pub fn arrivals(&self) -> u64 {
        self.arrivals
    }

    pub fn is_empty(&self) -> bool {
        self.table.rows.is_empty()
    }

    pub fn add(&mut self, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<(), Failure> {
        let new = table_of(schema, batches)?;
        if self.table.columns.is_empty() {
            self.table.columns = new.columns;
        }
        let keys = self.key_columns();
        for row in new.rows {
            self.arrivals += 1;
            let key: Vec<String> = keys.iter().map(|column| row[*column].clone()).collect();
            let known = if keys.is_empty() { None } else { self.index.get(&key).copied() };
            match known {
                Some(line) => {
                    self.table.rows[line] = row;
                    self.touched[line] = self.arrivals;
                }
                None => {
                    self.make_room();
                    self.index.insert(key, self.table.rows.len());
                    self.table.rows.push(row);
                    self.touched.push(self.arrivals);
                }
            }
        }
        Ok(())
    }

    /// The lines in the order in which they are shown, at most `rows`.
    pub fn table(&self, rows: usize) -> Table {
        let mut order: Vec<usize> = (0..self.table.rows.len()).collect();
        match (&self.shape, self.sort_column()) {
            (_, Some(column)) => order.sort_by(|a, b| self.compare(column, *b, *a)),
            (Shape::Newest, None) => order.sort_by_key(|line| std::cmp::Reverse(self.touched[*line])),
            (Shape::LatestPer(_), None) => {
                let keys = self.key_columns();
                let key = |line: usize| keys.iter().map(move |column| &self.table.rows[line][*column]);
                order.sort_by(|a, b| key(*a).cmp(key(*b)));
            }
        }
        order.truncate(rows);
        Table {
            columns: self.table.columns.clone(),
            rows: order.into_iter().map(|line| self.table.rows[line].clone()).collect(),
        }
    }

    fn compare(&self, column: usize, a: usize, b: usize) -> std::cmp::Ordering {
        let (a, b) = (&self.table.rows[a][column], &self.table.rows[b][column]);
        match (a.parse::<f64>(), b.parse::<f64>()) {
            (Ok(a), Ok(b)) => a.total_cmp(&b),
            _ => a.cmp(b),
        }
    }

    fn sort_column(&self) -> Option<usize> {
        let name = self.sort.as_ref()?;
        self.table.columns.iter().position(|column| column.name == *name)
    }

    fn key_columns(&self) -> Vec<usize> {
        let Shape::LatestPer(names) = &self.shape else { return Vec::new() };
        let find = |name: &String| self.table.columns.iter().position(|column| column.name == *name);
        names.iter().filter_map(find).collect()
    }

    fn make_room(&mut self) {
        if self.table.rows.len() < self.rows_max {
            return;
        }
        let Some(oldest) = (0..self.touched.len()).min_by_key(|line| self.touched[*line]) else { return };
        self.table.rows.swap_remove(oldest);
        self.touched.swap_remove(oldest);
        let last = self.table.rows.len();
        self.index.retain(|_, line| *line != oldest);
        for line in self.index.values_mut().filter(|line| **line == last) {
            *line = oldest;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn rows(rows: &[(&str, i64)]) -> RecordBatch {
        RecordBatch::try_from_iter([
            ("k", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))) as ArrayRef),
            ("n", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1))) as ArrayRef),
        ])
        .unwrap()
    }

    fn shown(view: &View) -> Vec<String> {
        view.table(10).rows.iter().map(|row| row.join("=")).collect()
    }

    fn add(view: &mut View, new: &[(&str, i64)]) {
        let batch = rows(new);
        view.add(&batch.schema(), &[batch.clone()]).unwrap();
    }

    #[test]
    fn the_newest_row_of_a_key_replaces_the_older() {
        let mut view = View::new(Shape::LatestPer(vec!["k".into()]), None, 10);
        add(&mut view, &[("b", 1), ("a", 2), ("b", 30)]);
        assert_eq!(shown(&view), ["a=2", "b=30"]);
        let mut sorted = View::new(Shape::LatestPer(vec!["k".into()]), Some("n".into()), 10);
        add(&mut sorted, &[("b", 1), ("a", 2), ("b", 30)]);
        assert_eq!(shown(&sorted), ["b=30", "a=2"]);
    }

    #[test]
    fn without_keys_the_newest_rows_come_first() {
        let mut view = View::new(Shape::Newest, None, 2);
        add(&mut view, &[("a", 1), ("a", 2), ("a", 3)]);
        assert_eq!(shown(&view), ["a=3", "a=2"]);
        assert_eq!(view.arrivals(), 3);
    }

    #[test]
    fn the_key_that_was_quiet_longest_goes() {
        let mut view = View::new(Shape::LatestPer(vec!["k".into()]), None, 2);
        add(&mut view, &[("a", 1), ("b", 2), ("a", 3), ("c", 4), ("c", 5), ("a", 6)]);
        assert_eq!(shown(&view), ["a=6", "c=5"]);
    }
}

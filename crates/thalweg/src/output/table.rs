//! Tables for people: aligned, numbers to the right, never wider than the terminal.
//!
//! Columns that do not fit are cut with `…`, the widest first, so that every column stays visible; only the table format
//! cuts, the others never do.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Rows of text, ready to be laid out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: String,
    /// Numbers stand to the right.
    pub right: bool,
}

/// A column is never cut below this.
const NARROWEST: usize = 6;
const GAP: usize = 2;

impl Table {
    /// Lines without line ends: the header, a rule, the rows.
    pub fn lines(&self, width: usize) -> Vec<String> {
        let widths = self.widths(width);
        let mut lines = Vec::with_capacity(self.rows.len() + 2);
        lines.push(self.line(self.columns.iter().map(|column| column.name.as_str()), &widths));
        let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        lines.push(rule.join(&" ".repeat(GAP)));
        lines.extend(self.rows.iter().map(|row| self.line(row.iter().map(String::as_str), &widths)));
        lines
    }

    /// GitHub's table syntax.
    pub fn markdown(&self) -> String {
        let escape = |text: &str| text.replace('|', "\\|").replace('\n', " ");
        let mut out = String::new();
        let names: Vec<String> = self.columns.iter().map(|column| escape(&column.name)).collect();
        out.push_str(&format!("| {} |\n", names.join(" | ")));
        let rules: Vec<&str> = self.columns.iter().map(|column| if column.right { "---:" } else { "---" }).collect();
        out.push_str(&format!("| {} |\n", rules.join(" | ")));
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(|cell| escape(cell)).collect();
            out.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
        out
    }

    fn line<'a>(&self, cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
        let mut line = String::new();
        for (index, (cell, width)) in cells.zip(widths).enumerate() {
            if index > 0 {
                line.push_str(&" ".repeat(GAP));
            }
            let cell = fit(cell, *width);
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            if self.columns[index].right {
                line.push_str(&padding);
                line.push_str(&cell);
            } else {
                line.push_str(&cell);
                line.push_str(&padding);
            }
        }
        line.truncate(line.trim_end().len());
        line
    }

    fn widths(&self, limit: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|column| column.name.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(printable(cell).width());
            }
        }
        let gaps = GAP * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > limit {
            let Some((widest, width)) = widths.iter().enumerate().max_by_key(|(_, width)| **width) else { break };
            if *width <= NARROWEST {
                break;
            }
            // Down to the second widest at once, at least by one.
            let second = widths.iter().enumerate().filter(|(i, _)| *i != widest).map(|(_, w)| *w).max().unwrap_or(0);
            let over = widths.iter().sum::<usize>() + gaps - limit;
            let width = widths[widest];
            widths[widest] = width.saturating_sub(over.min(width.saturating_sub(second).max(1))).max(NARROWEST);
        }
        widths
    }
}

/// Line ends and other control characters would break the grid.
fn printable(text: &str) -> std::borrow::Cow<'_, str> {
    if text.chars().any(char::is_control) { text.escape_debug().to_string().into() } else { text.into() }
}

/// The text, cut to `width` columns with `…` at its end.
pub fn fit(text: &str, width: usize) -> String {
    let text = printable(text);
    if text.width() <= width {
        return text.into_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w + 1 > width {
            break;
        }
        out.push(c);
        used += w;
    }
    out.push('…');
    out
}

/// Columns of the terminal; 120 when there is none, so that piped tables do not depend on a window.
pub fn terminal_width() -> usize {
    if !crate::exit::stdout_is_terminal() {
        return 120;
    }
    crossterm::terminal::size().map_or(120, |(columns, _)| usize::from(columns).max(20))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            columns: vec![
                Column { name: "origin".into(), right: false },
                Column { name: "flights".into(), right: true },
            ],
            rows: vec![vec!["DFW".into(), "1005".into()], vec!["a\nb".into(), "7".into()]],
        }
    }

    #[test]
    fn aligns_and_escapes() {
        let lines = table().lines(80);
        assert_eq!(lines, ["origin  flights", "──────  ───────", "DFW        1005", "a\\nb          7"]);
    }

    #[test]
    fn cuts_the_widest_column_to_the_width() {
        let mut table = table();
        table.rows.push(vec!["x".repeat(60), "1".into()]);
        let lines = table.lines(30);
        assert!(lines.iter().all(|line| line.width() <= 30), "{lines:#?}");
        assert!(lines[4].contains('…'));
    }

    #[test]
    fn wide_characters_count_double() {
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!(fit("日本語", 6), "日本語");
    }

    #[test]
    fn markdown_escapes_bars() {
        let table = Table { columns: vec![Column { name: "a|b".into(), right: true }], rows: vec![vec!["1|2".into()]] };
        assert_eq!(table.markdown(), "| a\\|b |\n| ---: |\n| 1\\|2 |\n");
    }
}

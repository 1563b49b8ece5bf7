//! Plain tables, as kubectl prints them.

use comfy_table::{Cell, ColumnConstraint, Row, Table as Grid, Width, presets};

use super::printable;

/// Blanks between columns.
const GAP: u16 = 3;

/// A table without lines. What its cells hold is made [`printable`].
pub(crate) struct Table {
    grid: Grid,
    /// The least widths of the columns.
    widths: Vec<u16>,
}

impl Table {
    pub(crate) fn new<const N: usize>(header: [&str; N]) -> Self {
        let mut table = Self::bare(Vec::new());
        table.grid.set_header(header);
        table
    }

    /// A table without a header, to be printed below this one: its columns are no narrower.
    pub(crate) fn continuation(&self) -> Self {
        let found = self.grid.column_max_content_widths();
        let before = self.widths.iter().copied().chain(std::iter::repeat(0));
        Self::bare(found.into_iter().zip(before).map(|(found, before)| found.max(before)).collect())
    }

    fn bare(widths: Vec<u16>) -> Self {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING);
        Self { grid, widths }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        let cells = cells.iter().map(|cell| Cell::new(if cell.is_empty() { "-".into() } else { printable(cell) }));
        self.grid.add_row(Row::from(cells.collect::<Vec<_>>()));
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut grid = self.grid.clone();
        for column in grid.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        for (width, column) in self.widths.iter().zip(grid.column_iter_mut()) {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width + GAP)));
        }
        grid.lines().try_for_each(|line| writeln!(f, "{}", line.trim_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_texts_cannot_deceive() {
        let mut table = Table::new(["NAMESPACE", "NAME"]);
        table.row(["shop", "web\u{1b}[2J"]);
        table.row(["", "漢字"]);
        assert_eq!(table.to_string(), "NAMESPACE   NAME\nshop        web\\u{1b}[2J\n-           漢字\n");
        let mut more = table.continuation();
        more.row(["a", "b"]);
        assert_eq!(more.to_string(), "a           b\n");
        let mut even_more = more.continuation();
        even_more.row(["a-longer-namespace", "b"]);
        assert_eq!(even_more.to_string(), "a-longer-namespace   b\n");
        let mut last = even_more.continuation();
        last.row(["a", "b"]);
        assert_eq!(last.to_string(), "a                    b\n");
    }
}

//! The terminal as a screen: alternate buffer, raw keys, redrawn in place. Always given back, also on errors and panics.

use std::io::{self, Write, stdout};
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::terminal::{
    self, BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
};
use crossterm::{execute, queue};

use crate::output::table::fit;

/// Holds the terminal in screen mode until it is dropped.
pub struct Screen {
    _private: (),
}

/// What the person did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pressed {
    Nothing,
    /// q, Esc or Ctrl-C.
    Quit,
    Key(char),
}

/// A line of a frame; bold ones stand out.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameLine {
    pub text: String,
    pub bold: bool,
}

impl FrameLine {
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), bold: false }
    }

    pub fn bold(text: impl Into<String>) -> Self {
        Self { text: text.into(), bold: true }
    }
}

impl Screen {
    pub fn open() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let screen = Self { _private: () };
        execute!(stdout(), EnterAlternateScreen, Hide)?;
        Ok(screen)
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        terminal::size().map_or((80, 24), |(columns, rows)| (usize::from(columns), usize::from(rows)))
    }

    /// Draws the lines from the top; what does not fit is cut.
    pub fn draw(&mut self, lines: &[FrameLine]) -> io::Result<()> {
        let (columns, rows) = self.size();
        let mut out = stdout().lock();
        queue!(out, BeginSynchronizedUpdate)?;
        for (row, line) in lines.iter().take(rows).enumerate() {
            queue!(out, MoveTo(0, row as u16), Clear(ClearType::CurrentLine))?;
            let text = fit(&line.text, columns);
            if line.bold {
                write!(out, "\x1b[1m{text}\x1b[0m")?;
            } else {
                write!(out, "{text}")?;
            }
        }
        if lines.len() < rows {
            queue!(out, MoveTo(0, lines.len() as u16), Clear(ClearType::FromCursorDown))?;
        }
        queue!(out, EndSynchronizedUpdate)?;
        out.flush()
    }

    /// Waits up to `patience` for a key.
    pub fn pressed(&mut self, patience: Duration) -> io::Result<Pressed> {
        if !event::poll(patience)? {
            return Ok(Pressed::Nothing);
        }
        let Event::Key(key) = event::read()? else { return Ok(Pressed::Nothing) };
        if key.kind == KeyEventKind::Release {
            return Ok(Pressed::Nothing);
        }
        Ok(match key.code {
            KeyCode::Esc => Pressed::Quit,
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Pressed::Quit,
            KeyCode::Char('q') => Pressed::Quit,
            KeyCode::Char(c) => Pressed::Key(c),
            _ => Pressed::Nothing,
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing more can be done for a terminal that is gone.
        let _ = execute!(stdout(), Show, LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

//! Colours, chosen once at start. Meaning never hangs on colour alone.

use std::sync::OnceLock;

use nu_ansi_term::{Color as Ansi, Style};

use crate::cli::Color;
use crate::exit::{stderr_is_terminal, stdout_is_terminal};

static CHOICE: OnceLock<Color> = OnceLock::new();

/// Keeps the person's choice for the rest of the process; set once, by `main`.
pub fn choose_colors(color: Color) {
    let _ = CHOICE.set(color);
}

fn colored(terminal: bool) -> bool {
    match CHOICE.get().copied().unwrap_or(Color::Auto) {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    }
}

fn on_stderr(style: Style, text: &str) -> String {
    if colored(stderr_is_terminal()) { style.paint(text).to_string() } else { text.into() }
}

fn on_stdout(style: Style, text: &str) -> String {
    if colored(stdout_is_terminal()) { style.paint(text).to_string() } else { text.into() }
}

pub fn colors_on_stdout() -> bool {
    colored(stdout_is_terminal())
}

pub fn error(text: &str) -> String {
    on_stderr(Ansi::Red.bold(), text)
}

pub fn hint(text: &str) -> String {
    on_stderr(Ansi::Cyan.normal(), text)
}

pub fn header(text: &str) -> String {
    on_stdout(Style::new().bold(), text)
}

pub fn dim(text: &str) -> String {
    on_stdout(Style::new().dimmed(), text)
}

pub fn good(text: &str) -> String {
    on_stdout(Ansi::Green.normal(), text)
}

pub fn bad(text: &str) -> String {
    on_stdout(Ansi::Red.bold(), text)
}

//! The line editor: history, many lines until `;`, completion on Tab, keywords in colour.

use std::borrow::Cow;
use std::path::PathBuf;

use nu_ansi_term::{Color, Style};
use reedline::{
    ColumnarMenu, Emacs, FileBackedHistory, Highlighter, KeyCode, KeyModifiers, MenuBuilder, Prompt, PromptEditMode,
    PromptHistorySearch, Reedline, ReedlineEvent, ReedlineMenu, StyledText, ValidationResult, Validator,
    default_emacs_keybindings,
};

use super::complete::{KEYWORDS, SharedNames, SqlCompleter};
use super::{meta, split};
use crate::output::style;

const HISTORY_LINES: usize = 10_000;

/// An editor that completes `names`. History that cannot be kept is no reason not to start.
pub fn editor(names: SharedNames) -> Reedline {
    let menu = ColumnarMenu::default().with_name("completion");
    let mut keys = default_emacs_keybindings();
    keys.add_binding(
        KeyModifiers::NONE,
        KeyCode::Tab,
        ReedlineEvent::UntilFound(vec![ReedlineEvent::Menu("completion".into()), ReedlineEvent::MenuNext]),
    );
    let mut editor = Reedline::create()
        .with_completer(Box::new(SqlCompleter::new(names)))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(menu)))
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_validator(Box::new(UntilSemicolon))
        .with_quick_completions(true);
    if style::colors_on_stdout() {
        editor = editor.with_highlighter(Box::new(Keywords));
    }
    if let Some(history) = history_file().and_then(|path| FileBackedHistory::with_file(HISTORY_LINES, path).ok()) {
        editor = editor.with_history(Box::new(history));
    }
    editor
}

/// `$XDG_STATE_HOME/thalweg/sql_history`, or the same under `~/.local/state`.
fn history_file() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
    let folder = state.join("thalweg");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("sql_history"))
}

struct UntilSemicolon;

impl Validator for UntilSemicolon {
    fn validate(&self, line: &str) -> ValidationResult {
        let done = meta::is_meta(line) || {
            let (_, rest) = split::statements(line);
            split::is_blank(rest) || is_command_word(line)
        };
        if done { ValidationResult::Complete } else { ValidationResult::Incomplete }
    }
}

/// Words that leave or help without a semicolon, as people try them.
pub fn is_command_word(line: &str) -> bool {
    matches!(line.trim().to_lowercase().as_str(), "exit" | "quit" | "help")
}

struct Keywords;

impl Highlighter for Keywords {
    fn highlight(&self, line: &str, _cursor: usize) -> StyledText {
        let mut styled = StyledText::new();
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let (length, style) = piece(rest, first);
            styled.push((style, rest[..length].to_string()));
            rest = &rest[length..];
        }
        styled
    }
}

/// Length and style of the piece at the start of `rest`.
fn piece(rest: &str, first: char) -> (usize, Style) {
    let until = |stop: &dyn Fn(char) -> bool| rest.find(stop).unwrap_or(rest.len());
    match first {
        '\'' => {
            let end = rest[1..].find('\'').map_or(rest.len(), |at| at + 2);
            (end, Color::Green.normal())
        }
        '-' if rest.starts_with("--") => (until(&|c| c == '\n'), Style::new().dimmed()),
        c if c.is_ascii_digit() => (until(&|c| !(c.is_ascii_digit() || c == '.')), Color::Cyan.normal()),
        c if c.is_alphabetic() || c == '_' => {
            let end = until(&|c| !(c.is_alphanumeric() || c == '_'));
            let word = rest[..end].to_uppercase();
            let known = KEYWORDS.iter().any(|keyword| keyword.split(' ').any(|part| part == word));
            (end, if known { Style::new().bold() } else { Style::new() })
        }
        c => (c.len_utf8(), Style::new()),
    }
}

pub struct ShellPrompt;

impl Prompt for ShellPrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        "thalweg".into()
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        "".into()
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        "> ".into()
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        "      -> ".into()
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        format!("(history: {}) ", search.term).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_complete_at_the_semicolon() {
        let complete = |line: &str| matches!(UntilSemicolon.validate(line), ValidationResult::Complete);
        for line in ["SELECT 1;", "\\d", ".mode csv", "quit", "", "SELECT 1; -- done"] {
            assert!(complete(line), "{line}");
        }
        for line in ["SELECT 1", "SELECT ';", "SELECT 1; SELECT"] {
            assert!(!complete(line), "{line}");
        }
    }

    #[test]
    fn highlighting_keeps_the_text() {
        for line in ["SELECT 'é', 1.5 -- x\nFROM t;", "'open", "--"] {
            let styled = Keywords.highlight(line, 0);
            let text: String = styled.buffer.iter().map(|(_, text)| text.as_str()).collect();
            assert_eq!(text, line);
        }
    }
}

//! Reference pages in docs/ are what the binary prints.

use std::path::Path;

use crate::support::Folder;

#[track_caller]
fn is_fresh(page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/reference/{page}.md"));
    let printed = Folder::new().run(&["docs", page]).expect(0).out;
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == printed,
        "docs/reference/{page}.md is out of date: run `thalweg docs {page} > docs/reference/{page}.md`"
    );
}

#[test]
fn cli_page_is_fresh() {
    is_fresh("cli");
}

#[test]
fn settings_page_is_fresh() {
    is_fresh("settings");
}

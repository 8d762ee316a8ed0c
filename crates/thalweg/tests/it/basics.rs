//! Exit codes, settings, and commands that run no pipeline.

use std::process::Stdio;

use crate::support::{Folder, finish};

#[test]
fn unknown_commands_and_options_are_usage_errors_with_a_suggestion() {
    let folder = Folder::new();
    folder.run(&["conectors"]).expect(2).says("connectors");
    folder.run(&["connectors", "list", "--outputt", "json"]).expect(2).says("--output");
    folder.run(&[]).expect(2);
}

#[test]
fn version_and_help_are_data() {
    let folder = Folder::new();
    folder.run(&["--version"]).expect(0).prints(concat!("thalweg ", env!("CARGO_PKG_VERSION")));
    folder.run(&["--help"]).expect(0).prints("Exit codes: 0 ok");
}

#[test]
fn settings_layers_win_in_order() {
    let folder = Folder::new();
    folder.write("thalweg.yaml", "run:\n  parallelism: 2\n  batch_rows: 100\n");
    let mut command = folder.command(&["config", "show", "-o", "json", "--set", "run.parallelism=4"]);
    command.env("THALWEG__RUN__PARALLELISM", "3").env("THALWEG__RUN__CHECKPOINT_INTERVAL", "1s");
    let shown = finish(command).expect(0).json();
    assert_eq!(shown["run.parallelism"]["value"], "4");
    assert_eq!(shown["run.parallelism"]["origin"], "--set");
    assert_eq!(shown["run.checkpoint_interval"]["origin"], "environment THALWEG__RUN__CHECKPOINT_INTERVAL");
    assert_eq!(shown["run.batch_rows"]["origin"], "thalweg.yaml:3");
    assert_eq!(shown["run.publish_interval"]["origin"], "default");
}

#[test]
fn wrong_settings_are_all_told_at_once() {
    let folder = Folder::new();
    folder.write("thalweg.yaml", "run:\n  paralelism: 2\n");
    folder
        .run(&["config", "show", "--set", "run.publish_interval=soon"])
        .expect(3)
        .says("thalweg.yaml:2")
        .says("did you mean 'run.parallelism'?")
        .says("'soon' is no duration");
    folder.run(&["config", "show", "--config", "absent.yaml"]).expect(4).says("absent.yaml");
}

#[test]
fn an_unknown_connector_is_not_found() {
    Folder::new().run(&["connectors", "show", "filez"]).expect(4).says("there is no connector 'filez'");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = Folder::new();
    let mut command = folder.command(&["docs", "cli"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the binary ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success(), "{:?}", output.status);
}

//! `thalweg bench` and `thalweg demo`: they run, and their numbers are those of the run.

use crate::support::Folder;

#[test]
fn every_query_reads_all_bids() {
    let folder = Folder::new();
    for query in ["q0", "q1", "q2", "q5hop", "q11", "q12", "q14", "q21", "q22"] {
        let args = ["bench", "nexmark", "--query", query, "--events", "20000", "--parallelism", "2", "-o", "json"];
        let line = folder.run(&args).expect(0).json();
        assert_eq!(line["events"], 18_400, "{query}: {line}");
        assert_eq!(line["late_dropped"], 0, "{query}: {line}");
        assert!(line["cpu_s"].as_f64().is_some_and(|cpu| cpu > 0.0), "{query}: {line}");
        assert!(line["rows_out"].as_u64().is_some_and(|rows| rows > 0), "{query}: {line}");
    }
    assert!(folder.path().read_dir().expect("the folder is there").next().is_none(), "nothing is left behind");
    folder.run(&["bench", "nexmark", "--query", "q99"]).expect(2).says("q5hop");
}

#[test]
fn a_corpus_gives_the_same_answer_in_both_formats() {
    let folder = Folder::new();
    let bid = |i: u64| {
        let channel = if i % 3 == 0 { "Google" } else { "channel-7" };
        format!(
            "{{\"auction\":{},\"bidder\":{},\"price\":{},\"channel\":\"{channel}\",\"url\":\"https://www.nexmark.com/a/b/c/item.htm?query=1&channel_id=5\",\"date_time\":{},\"extra\":\"abc\"}}\n",
            1000 + i % 50,
            2000 + i % 7,
            100 + i,
            1_704_095_700_000 + i * 10
        )
    };
    folder.write("corpus/bid.ndjson", &(0..5000).map(bid).collect::<String>());
    folder.run(&["bench", "corpus", "corpus"]).expect(0).prints("bid.parquet");
    let rows_out = |input: &str| {
        let args = ["bench", "nexmark", "--query", "q5hop", "--input", input, "--corpus", "corpus", "-o", "json"];
        let line = folder.run(&args).expect(0).json();
        assert_eq!(line["events"], 5000, "{line}");
        line["rows_out"].as_u64()
    };
    assert_eq!(rows_out("json"), rows_out("parquet"));
    folder.run(&["bench", "nexmark", "--query", "q0", "--input", "json"]).expect(2).says("--corpus");
}

#[test]
fn demonstrations_print_rows_without_a_terminal() {
    let folder = Folder::new();
    let done = folder.run(&["demo", "flights", "--rate", "20000", "--duration", "2s"]).expect(0);
    let first: serde_json::Value = serde_json::from_str(done.out.lines().next().expect("a row")).expect("JSON");
    assert!(first["origin"].is_string() && first["flights"].is_u64(), "{first}");
    folder.run(&["demo", "rides", "--sql"]).expect(0).prints("CREATE SOURCE requests");
    folder.run(&["demo", "flihgts"]).expect(2).says("flights");
}

//! The command, where it is looked for, and the odd bytes that it may hold.

use crate::plan::given::{host, profile, variables, with_command};
use sbx::host::Host;
use sbx::plan::{Plan, resolve};
use serde_json::json;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

fn of(host: &Host, arguments: &[&str], command: &[OsString]) -> Plan {
    let invocation = with_command(arguments, command);
    resolve(&profile(&[], &invocation.set), &invocation, host).expect("a plan")
}

#[test]
fn candidates_follow_the_path_inside() {
    for (path, arguments, command, wanted) in [
        ("/usr/bin:/bin", &[][..], "tool", &["/usr/bin/tool", "/bin/tool"][..]),
        ("/a::b:.:/c", &[], "tool", &["/a/tool", "/c/tool"]),
        ("", &[], "tool", &[]),
        ("/a", &["--env", "PATH=/x:/y"], "tool", &["/x/tool", "/y/tool"]),
        ("/a", &["--set", "environment.set.PATH=\"/z\""], "tool", &["/z/tool"]),
        ("/a", &[], "/opt/tool", &["/opt/tool"]),
        ("/a", &["--cwd", "rw"], "./tool", &["/home/ann/project/tool"]),
        ("/a", &["--cwd", "rw"], "sub/tool", &["/home/ann/project/sub/tool"]),
        ("/a", &[], "./tool", &["/home/ann/tool"]),
        ("/a", &["--chdir", "/srv"], "bin/tool", &["/srv/bin/tool"]),
        ("/a/", &[], "tool", &["/a/tool"]),
    ] {
        let host = Host { environment: variables(&[("PATH", path)]), ..host() };
        let plan = of(&host, arguments, &[command.into()]);
        // Compared as paths: `./tool` may be spelled with or without its dot.
        let wanted: Vec<_> = wanted.iter().map(PathBuf::from).collect();
        assert_eq!(plan.candidates, wanted, "{path} {arguments:?} {command}");
    }
    let no_path = Host { environment: Vec::new(), ..host() };
    assert_eq!(of(&no_path, &[], &["tool".into()]).candidates.len(), 6, "the usual directories");
}

#[test]
fn words_are_handed_on_as_they_are() {
    let words: Vec<OsString> = vec![
        "tool".into(),
        "".into(),
        "--cwd".into(),
        "a b".into(),
        OsString::from_vec(b"\xff\xfe".to_vec()),
        "é".into(),
    ];
    let plan = of(&host(), &[], &words);
    assert_eq!(plan.command, words);
    let json: serde_json::Value =
        serde_json::from_str(&sbx::explain::json(&plan).expect("JSON")).expect("JSON");
    assert_eq!(json["command"], json!(["tool", "", "--cwd", "a b", { "hex": "fffe" }, "é"]));
}

#[test]
fn odd_paths_are_shown_as_bytes() {
    let odd = OsString::from_vec(b"/data/\xc3\x28".to_vec());
    let mut invocation = with_command(&[], &["tool".into()]);
    invocation.paths.push(sbx::invocation::PathFlag {
        kind: sbx::profile::EntryKind::Read,
        typed: odd.clone(),
        path: odd.clone().into(),
        dest: None,
    });
    let host = Host {
        cwd: sbx::host::WorkingDirectory::Known(OsString::from_vec(b"/srv/\x80".to_vec()).into()),
        ..host()
    };
    invocation.cwd = Some(sbx::profile::CwdMode::Rw);
    let plan = resolve(&profile(&[], &[]), &invocation, &host).expect("a plan");
    let json: serde_json::Value =
        serde_json::from_str(&sbx::explain::json(&plan).expect("JSON")).expect("JSON");
    let mounts = json["mounts"].as_array().expect("a list");
    let hex = json!({ "hex": "2f646174612fc328" });
    let bind = mounts.iter().find(|mount| mount["dest"] == hex).expect("the odd one");
    assert_eq!(bind["source"]["path"], hex);
    assert!(bind["set-by"].as_str().is_some_and(|by| by.starts_with("--ro /data/")));
    assert_eq!(json["directory"]["value"], json!({ "hex": "2f7372762f80" }));
    let text = sbx::explain::text(&plan);
    assert!(text.contains("/data/\\xc3(") && text.contains("/srv/\\x80"), "{text}");
}

#[test]
fn without_a_command_nothing_is_looked_for() {
    let mut invocation = with_command(&[], &["tool".into()]);
    invocation.command.clear();
    let plan = resolve(&profile(&[], &[]), &invocation, &host()).expect("a plan");
    assert!(plan.command.is_empty() && plan.candidates.is_empty());
}

#[test]
fn the_same_again_is_the_same_plan() {
    let arguments = ["--ro", "/data/a", "--hide", "/data/b", "--env", "X=1", "--cwd", "rw"];
    let one = of(&host(), &arguments, &["tool".into()]);
    for _ in 0..20 {
        assert_eq!(of(&host(), &arguments, &["tool".into()]), one);
    }
    assert_ne!(of(&host(), &arguments[2..], &["tool".into()]), one);
}

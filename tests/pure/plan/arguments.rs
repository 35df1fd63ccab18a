//! Files named on the command line: what is shown, where, and what becomes of the words.

use crate::plan::given::{below, host, profile, typed};
use sbx::host::{Host, NamedFile};
use sbx::invocation::Invocation;
use sbx::plan::{Plan, resolve};
use std::ffi::OsString;

fn file(index: usize, before: &str, relative: bool, path: &str) -> NamedFile {
    NamedFile { index, before: before.into(), relative, path: path.into() }
}

fn plan_of(text: &str, arguments: &[&str], command: &[&str], files: Vec<NamedFile>) -> Plan {
    let host = Host { named_files: files, ..host() };
    let command = command.iter().map(OsString::from).collect();
    let invocation = Invocation { command, ..typed(arguments) };
    resolve(&profile(&[text], &invocation.set), &invocation, &host).expect("a plan")
}

fn words(plan: &Plan) -> Vec<&str> {
    plan.command.iter().filter_map(|word| word.to_str()).collect()
}

#[test]
fn nothing_is_shown_that_the_profile_does_not_want() {
    let plan = plan_of("", &[], &["tool", "a.pdf"], vec![file(1, "", true, "/home/ann/project/a.pdf")]);
    assert_eq!(below(&plan, "/home/ann"), ["/home/ann private"]);
    assert_eq!(words(&plan), ["tool", "a.pdf"]);
}

#[test]
fn a_file_is_shown_where_it_is() {
    for (mode, word) in [("ro", "ro"), ("rw", "rw")] {
        let text = format!("filesystem.arguments = '{mode}'");
        let files = vec![file(1, "", true, "/home/ann/project/a.pdf"), file(2, "", false, "/data/b.pdf")];
        let plan = plan_of(&text, &[], &["tool", "a.pdf", "/data/b.pdf"], files);
        assert_eq!(below(&plan, "/data"), [format!("/data/b.pdf {word}")]);
        assert_eq!(below(&plan, "/home/ann/project"), [format!("/home/ann/project/a.pdf {word}")]);
        // It starts in the home, where `a.pdf` would be another file.
        assert_eq!(words(&plan), ["tool", "/home/ann/project/a.pdf", "/data/b.pdf"]);
    }
}

#[test]
fn what_the_sandbox_has_anyway_stays_as_it_is() {
    let text = "filesystem.arguments = 'rw'\nfilesystem.read = ['/data']";
    let files = vec![
        file(1, "", true, "/home/ann/project/a.pdf"),
        file(2, "", false, "/data/b.pdf"),
        file(3, "", false, "/usr/share/doc/c"),
    ];
    let plan = plan_of(text, &["--cwd", "rw"], &["tool", "a.pdf", "/data/b.pdf", "/usr/share/doc/c"], files);
    assert_eq!(below(&plan, "/data"), ["/data ro"]);
    assert_eq!(below(&plan, "/usr"), ["/usr ro"]);
    assert_eq!(below(&plan, "/home/ann/project"), ["/home/ann/project rw"]);
    assert_eq!(words(&plan), ["tool", "a.pdf", "/data/b.pdf", "/usr/share/doc/c"]);
}

/// In an overlay it is one of those whose changes are kept apart.
#[test]
fn a_file_in_an_overlay_is_not_written_itself() {
    let text = "filesystem.arguments = 'rw'";
    let files = vec![file(1, "", true, "/home/ann/project/a.pdf")];
    let plan = plan_of(text, &["--cwd", "overlay"], &["tool", "a.pdf"], files);
    let binds = plan.mounts.iter().filter(|mount| mount.op.word() == "rw").count();
    assert_eq!((binds, words(&plan)), (0, vec!["tool", "a.pdf"]));
}

#[test]
fn a_hidden_file_stays_hidden() {
    let text = "filesystem.arguments = 'ro'";
    let hide = &["--hide", "/data"];
    let plan = plan_of(text, hide, &["tool", "/data/b.pdf"], vec![file(1, "", false, "/data/b.pdf")]);
    assert_eq!(below(&plan, "/data"), ["/data hide"]);
    assert_eq!(words(&plan), ["tool", "/data/b.pdf"]);
}

/// A private home is a directory of the host's: nothing is to be left there of what somebody once looked at.
#[test]
fn a_file_below_a_kept_home_gets_a_place_of_its_own() {
    let text = "filesystem.arguments = 'ro'\nhome.mode = 'private'";
    let files = vec![
        file(1, "", false, "/home/ann/a b.pdf"),
        file(2, "file://", false, "/home/ann/c d.pdf"),
        file(3, "--open=", true, "/home/ann/project/e.pdf"),
        file(4, "", false, "/data/f.pdf"),
    ];
    let command = ["tool", "/home/ann/a b.pdf", "file:///home/ann/c%20d.pdf", "--open=e.pdf", "/data/f.pdf"];
    let plan = plan_of(text, &[], &command, files);
    assert_eq!(
        below(&plan, "/run/user/1000/arguments"),
        [
            "/run/user/1000/arguments/1/a b.pdf ro /home/ann/a b.pdf",
            "/run/user/1000/arguments/2/c d.pdf ro /home/ann/c d.pdf",
            "/run/user/1000/arguments/3/e.pdf ro /home/ann/project/e.pdf",
        ]
    );
    assert_eq!(below(&plan, "/data"), ["/data/f.pdf ro"]);
    assert_eq!(
        words(&plan),
        [
            "tool",
            "/run/user/1000/arguments/1/a b.pdf",
            "file:///run/user/1000/arguments/2/c%20d.pdf",
            "--open=/run/user/1000/arguments/3/e.pdf",
            "/data/f.pdf",
        ]
    );
}

#[test]
fn another_directory_at_the_same_place_is_not_the_file() {
    let text = "filesystem.arguments = 'ro'";
    let swap = &["--ro", "/elsewhere:/data"];
    let plan = plan_of(text, swap, &["tool", "/data/f.pdf"], vec![file(1, "", false, "/data/f.pdf")]);
    assert_eq!(below(&plan, "/data"), ["/data ro /elsewhere"]);
    assert_eq!(words(&plan), ["tool", "/run/user/1000/arguments/1/f.pdf"]);
}

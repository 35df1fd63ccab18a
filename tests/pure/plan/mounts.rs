//! Entries with all their spellings: destinations, optional ones, sizes, tokens, links of the sandbox's own.

use crate::plan::given::{at, below, host, line, plan, plan_on, refusal, root_host};
use sbx::host::Host;
use sbx::plan::{Access, MountOp, PlanError};

#[test]
fn entries_are_spelled_in_many_ways() {
    for (text, arguments, wanted) in [
        ("read = [{ path = \"/src\", dest = \"/data/a\" }]", &[][..], &["/data/a ro /src"][..]),
        ("write = [{ path = \"/src\", dest = \"/data/a\" }]", &[], &["/data/a rw /src"]),
        ("read = [{ path = \"/data/a\", optional = true }]", &[], &["/data/a ro?"]),
        ("read = [{ path = \"/src\", dest = \"/data/a\", optional = true }]", &[], &["/data/a ro /src?"]),
        ("tmpfs = [\"/data/t\"]", &[], &["/data/t tmpfs"]),
        ("tmpfs = [{ path = \"/data/t\", size = \"5M\" }]", &[], &["/data/t tmpfs 5242880"]),
        ("read = [\"/data//a/./b/\"]", &[], &["/data/a/b ro"]),
        ("", &["--ro", "/src:/data/a"], &["/data/a ro /src"]),
        ("", &["--rw", "/src:/data/a/../b"], &["/data/b rw /src"]),
        ("", &["--ro", "/data/x/../y/./z"], &["/data/y/z ro"]),
        ("", &["--ro", "/s\\:c:/data/a"], &["/data/a ro /s:c"]),
        ("", &["--ro", "rel:/data/a"], &["/data/a ro /home/ann/project/rel"]),
        ("", &["--ro", "../up:/data/a"], &["/data/a ro /home/ann/up"]),
        ("", &["--tmpfs", "/data/t"], &["/data/t tmpfs"]),
        ("", &["--hide", "/data//t/"], &["/data/t hide"]),
        ("", &["--ro", "/data/a", "--rw", "/data/a"], &["/data/a rw"]),
        ("", &["--rw", "/data/a", "--ro", "/data/a"], &["/data/a ro"]),
    ] {
        let found = below(&plan(&[&format!("[filesystem]\n{text}")], arguments), "/data");
        assert_eq!(found, wanted, "{text} {arguments:?}");
    }
}

#[test]
fn a_relative_path_starts_at_the_working_directory() {
    let found = plan(&[], &["--cwd", "none", "--ro", "sub/file", "--rw", "./out", "--hide", "sub/../.env"]);
    let found: Vec<_> =
        found.mounts.iter().filter(|mount| mount.dest.starts_with("/home/ann/project")).map(line).collect();
    assert_eq!(
        found,
        ["/home/ann/project/.env hide", "/home/ann/project/out rw", "/home/ann/project/sub/file ro"]
    );
}

#[test]
fn tokens_stand_for_what_the_machine_says() {
    for (path, wanted) in [
        ("${HOME}/.cache", "/home/ann/.cache ro"),
        ("${HOME}", "/home/ann ro"),
        ("${CWD}/sub", "/home/ann/project/sub ro"),
        ("${XDG_RUNTIME_DIR}/bus", "/run/user/1000/bus ro"),
        ("${DOWNLOADS}", "/home/ann/Downloads ro"),
        ("/data/${UID}/x${UID}", "/data/1000/x1000 ro"),
        ("${HOME}/${UID}", "/home/ann/1000 ro"),
    ] {
        let plan = plan(&[&format!("[filesystem]\nread = [{path:?}]")], &[]);
        assert!(plan.mounts.iter().any(|mount| line(mount) == wanted), "{path} is not {wanted}");
    }
}

#[test]
fn tokens_without_a_value_are_refused() {
    use sbx::host::WorkingDirectory::{Deleted, Unreadable};
    for (path, host) in [
        ("${CWD}/x", Host { cwd: Deleted, ..host() }),
        ("${CWD}/x", Host { cwd: Unreadable(13), ..host() }),
        ("${XDG_RUNTIME_DIR}/x", Host { runtime_dir: None, ..host() }),
        ("${DOWNLOADS}/x", Host { downloads: None, ..host() }),
    ] {
        let required = format!("[filesystem]\nread = [{path:?}]");
        assert!(matches!(refusal(&host, &[&required], &[]), PlanError::NoValue { .. }), "{path}");
        let dest = format!("[filesystem]\nread = [{{ path = \"/x\", dest = {path:?} }}]");
        assert!(matches!(refusal(&host, &[&dest], &[]), PlanError::NoValue { .. }), "{path}");
        let optional = format!("[filesystem]\nread = [{{ path = {path:?}, optional = true }}]");
        let plan = plan_on(&host, &[&optional], &[]).expect("an optional path");
        assert_eq!(below(&plan, "/nonexistent"), ["/nonexistent ro?"], "{path}");
        let optional =
            format!("[filesystem]\nread = [{{ path = {path:?}, dest = \"/data\", optional = true }}]");
        let plan = plan_on(&host, &[&optional], &[]).expect("an optional path");
        assert_eq!(below(&plan, "/data"), ["/data ro /nonexistent?"], "{path}");
    }
}

#[test]
fn odd_paths_are_refused() {
    let long = format!("/{}", "x/".repeat(2100));
    for (text, arguments) in [
        ("read = [\"/data/../etc\"]", vec![]),
        ("write = [\"${HOME}/../bob\"]", vec![]),
        ("hide = [\"/..\"]", vec![]),
        ("read = [\"/\"]", vec![]),
        ("hide = [\"/\"]", vec![]),
        ("tmpfs = [\"/\"]", vec![]),
        ("read = [{ path = \"/src\", dest = \"/\" }]", vec![]),
        ("read = [{ path = \"/src\", dest = \"/a/../b\" }]", vec![]),
        ("", vec!["--ro", "/"]),
        ("", vec!["--rw", "/src:/"]),
        ("", vec!["--ro", "/src:rel"]),
        ("", vec!["--ro", "/data/.."]),
        ("", vec!["--ro", &long]),
        ("", vec!["--tmpfs", &long]),
    ] {
        let error = refusal(&host(), &[&format!("[filesystem]\n{text}")], &arguments);
        assert!(matches!(error, PlanError::BadPath { .. }), "{text} {arguments:?}: {error:?}");
    }
}

/// What lies behind a link that the sandbox itself makes is where the link leads.
#[test]
fn own_links_are_followed() {
    for (arguments, wanted) in [
        (&["--ro", "/src:/bin/x"][..], "/usr/bin/x ro /src"),
        (&["--rw", "/src:/bin/a/b"], "/usr/bin/a/b rw /src"),
        (&["--ro", "/src:/lib/x"], "/usr/lib/x ro /src"),
        (&["--ro", "/src:/lib64/x"], "/lib64/x ro /src"),
        (&["--hide", "/bin/su"], "/usr/bin/su hide"),
        (&["--tmpfs", "/var/run/x"], "/run/x tmpfs"),
        (&["--ro", "/src:/bin"], "/bin ro /src"),
        (&["--ro", "/src:/bin", "--ro", "/src2:/bin/x"], "/bin/x ro /src2"),
        (&["--ro", "/src:/binary/x"], "/binary/x ro /src"),
    ] {
        let found = plan(&[], arguments);
        assert!(found.mounts.iter().any(|mount| line(mount) == wanted), "{arguments:?} is not {wanted}");
    }
    let both = plan(&[], &["--ro", "/src:/usr/bin/x", "--rw", "/src2:/bin/x"]);
    assert_eq!(below(&both, "/usr/bin"), ["/usr/bin/x rw /src2"], "one place by two names");
    let hidden =
        plan(&["[filesystem]\nread = [{ path = \"/src\", dest = \"/bin/x\" }]"], &["--hide", "/usr/bin"]);
    assert_eq!(below(&hidden, "/usr/bin"), ["/usr/bin hide"]);
}

/// Who asks for the whole of a directory gets it, and not the base's choice from it; what is private or hidden stays so.
#[test]
fn a_whole_directory_replaces_what_the_base_says_of_it() {
    for (arguments, place, gone, kept) in [
        (&["--ro", "/etc"][..], "/etc", &["/etc/passwd", "/etc/ssl", "/etc/localtime"][..], &["/etc"][..]),
        (&["--rw", "/fake:/etc"], "/etc", &["/etc/passwd", "/etc/shells"], &["/etc"]),
        (
            &["--ro", "/dev"],
            "/dev",
            &["/dev/null", "/dev/stdin"],
            &["/dev", "/dev/shm", "/dev/pts", "/dev/mqueue"],
        ),
        (&["--ro", "/var"], "/var", &["/var/run"], &["/var", "/var/tmp"]),
        (&["--ro", "/run"], "/run", &[], &["/run", "/run/user/1000"]),
        (&["--ro", "/home"], "/home", &[], &["/home", "/home/ann", "/home/ann/project"]),
        (&["--hide", "/etc"], "/etc", &["/etc/passwd"], &["/etc"]),
    ] {
        let plan = plan(&[], &[&["--cwd", "rw"], arguments].concat());
        for missing in gone {
            assert!(at(&plan, missing).is_none(), "{arguments:?}: {missing} is still there");
        }
        for wanted in kept {
            assert!(at(&plan, wanted).is_some(), "{arguments:?}: no {wanted} in {:?}", below(&plan, place));
        }
    }
    let keys = plan_on(&root_host(), &[], &["--ro", "/etc"]).expect("a plan");
    assert_eq!(
        at(&keys, "/etc/ssl/private").map(|mount| &mount.op),
        Some(&MountOp::Mask),
        "root's keys stay hidden"
    );
}

#[test]
fn the_working_directory_stays_in_whatever_holds_it() {
    for mode in ["ro", "rw"] {
        for by_option in [true, false] {
            let text = format!("[filesystem]\ncwd = \"{mode}\"");
            let (texts, mut arguments) =
                if by_option { (vec![], vec!["--cwd", mode]) } else { (vec![text.as_str()], vec![]) };
            arguments.extend(["--ro", "/home"]);
            let found = below(&plan(&texts, &arguments), "/home");
            let cwd = format!("/home/ann/project {mode}");
            assert_eq!(found, ["/home ro", "/home/ann private", &cwd], "{arguments:?} {texts:?}");
        }
    }
}

#[test]
fn sizes_bound_bytes_and_files() {
    for (size, bytes, files) in [("\"1M\"", 1 << 20, 256), ("4096", 4096, 64), ("\"3G\"", 3 << 30, 3 << 18)] {
        let plan = plan(&[&format!("[filesystem]\ntmpfs = [{{ path = \"/data\", size = {size} }}]")], &[]);
        let wanted = MountOp::Tmpfs { size: bytes, inodes: files, mode: 0o755, access: Access::Writable };
        assert_eq!(at(&plan, "/data").map(|mount| &mount.op), Some(&wanted));
    }
}

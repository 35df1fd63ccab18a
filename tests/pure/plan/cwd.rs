//! The working directory: when it is given, when that is too much, and where the command starts.

use crate::plan::given::{at, host, in_directory, line, plan, plan_on, refusal};
use sbx::host::{Host, WorkingDirectory};
use sbx::plan::{Plan, PlanError};

fn start(plan: &Plan) -> String {
    plan.directory.value.0.display().to_string()
}

#[test]
fn modes_say_what_is_given() {
    for (text, arguments, mount, directory) in [
        ("rw", &[][..], Some("/home/ann/project rw"), "/home/ann/project"),
        ("ro", &[], Some("/home/ann/project ro"), "/home/ann/project"),
        ("none", &[], None, "/home/ann"),
        ("none", &["--cwd", "rw"], Some("/home/ann/project rw"), "/home/ann/project"),
        ("rw", &["--cwd", "ro"], Some("/home/ann/project ro"), "/home/ann/project"),
        ("ro", &["--cwd", "rw"], Some("/home/ann/project rw"), "/home/ann/project"),
        ("rw", &["--cwd", "none"], None, "/home/ann"),
        ("rw", &["--set", "filesystem.cwd=ro"], Some("/home/ann/project ro"), "/home/ann/project"),
        ("rw", &["--set", "filesystem.cwd=ro", "--cwd", "none"], None, "/home/ann"),
    ] {
        let plan = plan(&[&format!("[filesystem]\ncwd = {text:?}")], arguments);
        assert_eq!(at(&plan, "/home/ann/project").map(line).as_deref(), mount, "{text} {arguments:?}");
        assert_eq!(start(&plan), directory, "{text} {arguments:?}");
    }
}

/// An option is a later layer than any profile.
#[test]
fn the_option_wins_over_a_profiles_entry() {
    let text = "[filesystem]\nwrite = [\"${CWD}\"]";
    let with_option = plan(&[text], &["--cwd", "ro"]);
    assert_eq!(at(&with_option, "/home/ann/project").map(line).as_deref(), Some("/home/ann/project ro"));
    let without = plan(&[text, "[filesystem]\ncwd = \"ro\""], &[]);
    assert!(at(&without, "/home/ann/project").is_some());
    let hidden = plan(&["[filesystem]\nhide = [\"${CWD}\"]"], &["--cwd", "rw"]);
    assert_eq!(at(&hidden, "/home/ann/project").map(line).as_deref(), Some("/home/ann/project rw"));
    let shown = plan(&["[filesystem]\ncwd = \"rw\""], &["--hide", "/home/ann/project"]);
    assert_eq!(at(&shown, "/home/ann/project").map(line).as_deref(), Some("/home/ann/project hide"));
    assert_eq!(start(&shown), "/home/ann", "nobody can start in what is hidden");
}

#[test]
fn a_project_is_given() {
    for directory in [
        "/home/ann/project",
        "/home/ann/a/b/c",
        "/home/ann/.config",
        "/srv/project",
        "/tmp/build",
        "/var/tmp/x",
        "/usr/src/linux",
        "/opt/thing",
        "/home/bob",
        "/homes",
        "/home/annette",
        "/data",
        "/mnt/disk",
        "/media/ann/stick",
        "/run/user/1000/build",
        "/boot/x",
        "/etc/thing",
        "/root/x",
        "/system",
    ] {
        for mode in ["rw", "ro"] {
            let plan = plan_on(&in_directory(directory), &[], &["--cwd", mode]).expect(directory);
            assert_eq!(at(&plan, directory).map(line), Some(format!("{directory} {mode}")));
            assert_eq!(start(&plan), directory);
        }
    }
}

#[test]
fn what_is_too_much_is_refused() {
    for (directory, reason) in [
        ("/", "is the root directory"),
        ("/home/ann", "is your home directory"),
        ("/mnt/disk/ann", "is your home directory"),
        ("/home", "contains your home directory"),
        ("/mnt/disk", "contains your home directory"),
        ("/mnt", "contains your home directory"),
        ("/bin", "is shared"),
        ("/boot", "is shared"),
        ("/dev", "is shared"),
        ("/etc", "is shared"),
        ("/lib", "is shared"),
        ("/lib64", "is shared"),
        ("/media", "is shared"),
        ("/opt", "is shared"),
        ("/proc", "is shared"),
        ("/root", "is shared"),
        ("/run", "is shared"),
        ("/sbin", "is shared"),
        ("/srv", "is shared"),
        ("/sys", "is shared"),
        ("/tmp", "is shared"),
        ("/usr", "is shared"),
        ("/var", "is shared"),
        ("/var/tmp", "is shared"),
        ("/run/user", "is shared"),
        ("/dev/shm", "is shared"),
        ("/run/user/1000", "is shared"),
        ("/proc/1", "is shared"),
        ("/sys/kernel", "is shared"),
        ("/dev/pts", "is shared"),
        ("/dev/shm/x", "is shared"),
    ] {
        let host =
            Host { real_homes: vec!["/home/ann".into(), "/mnt/disk/ann".into()], ..in_directory(directory) };
        for mode in ["rw", "ro"] {
            let error = refusal(&host, &[], &["--cwd", mode]);
            let PlanError::WorkingDirectoryTooWide { path, why } = error else {
                panic!("{directory}: {error:?}")
            };
            assert!(why.starts_with(reason) && path.to_str() == Some(directory), "{directory}: {why}");
        }
        let plan = plan_on(&host, &[], &["--cwd", "none"]).expect("none of it");
        assert_eq!(start(&plan), "/home/ann", "{directory}");
    }
}

#[test]
fn a_directory_that_cannot_be_told_is_refused() {
    for (cwd, wanted) in [
        (WorkingDirectory::Deleted, PlanError::WorkingDirectoryDeleted),
        (WorkingDirectory::Unreadable(13), PlanError::WorkingDirectoryUnreadable(13)),
    ] {
        let host = Host { cwd, ..host() };
        for arguments in [
            &["--cwd", "rw"][..],
            &["--cwd", "ro"],
            &["--cwd", "none", "--ro", "relative"],
            &["--cwd", "none", "--hide", "x"],
        ] {
            assert_eq!(refusal(&host, &[], arguments), wanted, "{arguments:?}");
        }
        for arguments in [
            &["--cwd", "none"][..],
            &["--cwd", "none", "--ro", "/absolute"],
            &["--cwd", "none", "--chdir", "/usr"],
        ] {
            assert!(plan_on(&host, &[], arguments).is_ok(), "{arguments:?}");
        }
        let relative = refusal(&host, &[], &["--cwd", "none", "--chdir", "sub"]);
        assert_eq!(relative, wanted, "a relative --chdir");
    }
}

#[test]
fn the_command_starts_where_it_is_told() {
    for (arguments, wanted) in [
        (&["--chdir", "/usr/bin"][..], "/usr/bin"),
        (&["--chdir", "/usr//bin/../lib/."], "/usr/lib"),
        (&["--chdir", "sub"], "/home/ann/project/sub"),
        (&["--chdir", ".."], "/home/ann"),
        (&["--chdir", "/"], "/"),
        (&["--cwd", "none", "--chdir", "sub"], "/home/ann/project/sub"),
        (&["--cwd", "rw", "--chdir", "."], "/home/ann/project"),
        (&["--cwd", "rw", "--tmpfs", "/home/ann/project"], "/home/ann/project"),
        (&["--cwd", "rw"], "/home/ann/project"),
        (&["--cwd", "none"], "/home/ann"),
        (&["--cwd", "none", "--rw", "."], "/home/ann"),
    ] {
        assert_eq!(start(&plan(&[], arguments)), wanted, "{arguments:?}");
    }
}

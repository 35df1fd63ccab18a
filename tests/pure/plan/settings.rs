//! Single values: limits, network, names, clocks, descriptors, and what root cannot have.

use crate::plan::given::{host, plan, plan_on, profile, refusal, root_host, typed};
use sbx::host::Host;
use sbx::plan::{Plan, PlanError, resolve};
use sbx::profile::{Level, Nested, NetworkMode, TerminalMode};
use std::path::PathBuf;

/// A few values of a plan in one line.
fn values(plan: &Plan) -> String {
    let seconds = plan.limits.timeout.as_ref().map(|timeout| timeout.value.as_secs_f64());
    let files = plan.limits.open_files.as_ref().map(|files| files.value);
    let time = plan.namespaces.time.as_ref().map(|time| (time.value.boottime, time.value.monotonic));
    let (processes, host) = (plan.limits.processes.value, &plan.hostname.value);
    format!("{processes} {files:?} {seconds:?} {} {host} {time:?}", plan.namespaces.network.value.word())
}

#[test]
fn options_win_over_profiles_and_those_over_defaults() {
    let all = "[limits]\npids = 7\nopen-files = 8\ntimeout = \"9s\"\n[network]\nmode = \"host\"\n[namespaces]\nhostname = \"box\"";
    for (texts, arguments, wanted) in [
        (&[][..], &[][..], "4096 None None none sandbox None"),
        (&[all], &[], "7 Some(8) Some(9.0) host box None"),
        (&[all, "[limits]\npids = 70"], &[], "70 Some(8) Some(9.0) host box None"),
        (&[all, "[network]\nmode = \"none\""], &[], "7 Some(8) Some(9.0) none box None"),
        (&[all], &["--pids", "5"], "5 Some(8) Some(9.0) host box None"),
        (&[all], &["--timeout", "1m"], "7 Some(8) Some(60.0) host box None"),
        (&[all], &["--timeout", "1500ms"], "7 Some(8) Some(1.5) host box None"),
        (&[all], &["--net", "none"], "7 Some(8) Some(9.0) none box None"),
        (&[], &["--net", "host"], "4096 None None host sandbox None"),
        (&[], &["--hostname", "a.b-c"], "4096 None None none a.b-c None"),
        (&[all], &["--hostname", "other"], "7 Some(8) Some(9.0) host other None"),
        (&[all], &["--set", "limits.pids=6"], "6 Some(8) Some(9.0) host box None"),
        (&[all], &["--set", "limits.pids=6", "--set", "limits.pids=5"], "5 Some(8) Some(9.0) host box None"),
        (&[all], &["--set", "limits.pids=6", "--pids", "4"], "4 Some(8) Some(9.0) host box None"),
        (&[all], &["--set", "network.mode=none"], "7 Some(8) Some(9.0) none box None"),
        (&[all], &["--set", "network.mode=none", "--net", "host"], "7 Some(8) Some(9.0) host box None"),
        (&[], &["--set", "limits.open-files=3"], "4096 Some(3) None none sandbox None"),
        (&[], &["--set", "limits.timeout=2h"], "4096 None Some(7200.0) none sandbox None"),
        (&[], &["--set", "namespaces.hostname=x"], "4096 None None none x None"),
        (
            &["namespaces.time = { boottime = \"1s\" }"],
            &[],
            "4096 None None none sandbox Some((1000000000, 0))",
        ),
        (
            &["namespaces.time = { boottime = \"1s\" }"],
            &["--set", "namespaces.time.monotonic=-1ms"],
            "4096 None None none sandbox Some((1000000000, -1000000))",
        ),
        (
            &["namespaces.time = { boottime = \"1s\" }"],
            &["--set", "namespaces.time.boottime=0s"],
            "4096 None None none sandbox Some((0, 0))",
        ),
    ] {
        assert_eq!(values(&plan(texts, arguments)), wanted, "{texts:?} {arguments:?}");
    }
}

#[test]
fn every_value_says_who_set_it() {
    let plan = plan(
        &["[limits]\npids = 7"],
        &["--net", "host", "--set", "limits.open-files=3", "--timeout", "2s", "--hide", "/data"],
    );
    let json: serde_json::Value =
        serde_json::from_str(&sbx::explain::json(&plan).expect("JSON")).expect("JSON");
    let by = |value: &serde_json::Value| value["set-by"].as_str().unwrap_or_default().to_owned();
    assert!(by(&json["limits"]["processes"]).ends_with("/p0.toml:3"), "{}", by(&json["limits"]["processes"]));
    assert_eq!(by(&json["limits"]["open-files"]), "--set limits.open-files=3");
    assert_eq!(by(&json["limits"]["timeout"]), "--timeout 2s");
    assert_eq!(by(&json["limits"]["core"]), "default");
    assert_eq!(by(&json["namespaces"]["network"]), "--net");
    assert_eq!(by(&json["hostname"]), "default");
    let mounts = json["mounts"].as_array().expect("a list");
    assert!(mounts.iter().any(|mount| mount["dest"] == "/data" && by(mount) == "--hide /data"));
}

#[test]
fn root_is_told_which_limit_the_kernel_does_not_hold_it_to() {
    for (texts, arguments, wanted) in [
        (&[][..], &[][..], Some(0)),
        (&["[limits]\npids = 7"], &[], Some(1)),
        (&["[limits]\npids = 7\nlevel = \"prefer\""], &[], Some(1)),
        (&["[limits]\npids = 7\nlevel = \"available\""], &[], Some(0)),
        (&["[limits]\npids = 7\nlevel = \"off\""], &[], Some(0)),
        (&["[limits]\npids = 7\nlevel = \"require\""], &[], None),
        (&["[limits]\npids = 7"], &["--strict"], None),
        (&["[limits]\npids = 7\nlevel = \"available\""], &["--strict"], None),
        (&[], &["--pids", "7"], None),
        (&[], &["--set", "limits.pids=7"], Some(1)),
        (&[], &["--strict"], Some(0)),
    ] {
        match (plan_on(&root_host(), texts, arguments), wanted) {
            (Ok(plan), Some(misses)) => {
                assert_eq!(plan.misses.len(), misses, "{texts:?} {arguments:?}: {:?}", plan.misses)
            }
            (Err(PlanError::Conflict { .. }), None) => {}
            (other, _) => panic!("{texts:?} {arguments:?}: {:?}", other.map(|plan| plan.misses)),
        }
        let plan = plan_on(&host(), texts, arguments).expect("an ordinary user can have it");
        assert!(plan.misses.is_empty());
    }
}

#[test]
fn nested_namespaces() {
    for (text, host, wanted) in [
        ("none", host(), Some(Nested::None)),
        ("browser", host(), Some(Nested::Browser)),
        ("full", host(), Some(Nested::Full)),
        ("none", root_host(), Some(Nested::None)),
        ("browser", root_host(), Some(Nested::None)),
        ("full", root_host(), None),
    ] {
        let found = plan_on(&host, &[&format!("[namespaces]\nnested = {text:?}")], &[]);
        match wanted {
            Some(nested) => assert_eq!(found.map(|plan| plan.namespaces.nested.value), Ok(nested), "{text}"),
            None => assert!(matches!(found, Err(PlanError::Conflict { .. })), "{text}"),
        }
    }
}

#[test]
fn strict_requires_what_is_taken_where_available() {
    assert_eq!(plan(&[], &[]).privileges.session_keyring, Level::Available);
    assert_eq!(plan(&[], &["--strict"]).privileges.session_keyring, Level::Require);
}

#[test]
fn descriptors_to_keep() {
    for (arguments, wanted) in [
        (&[][..], Ok(vec![])),
        (&["--keep-fd", "3"], Ok(vec![3])),
        (&["--keep-fd", "9", "--keep-fd", "4"], Ok(vec![9, 4])),
        (&["--keep-fd", "0"], Err(0)),
        (&["--keep-fd", "1"], Err(1)),
        (&["--keep-fd", "3", "--keep-fd", "2"], Err(2)),
    ] {
        let found = plan_on(&host(), &[], arguments).map(|plan| plan.keep_fds);
        assert_eq!(found, wanted.map_err(PlanError::BadDescriptor), "{arguments:?}");
    }
}

#[test]
fn sbxs_own_directories_are_guarded() {
    let nothing = Host { config_home: None, state_home: None, data_home: None, session_dir: None, ..host() };
    let elsewhere = Host {
        config_home: Some("/c".into()),
        state_home: Some("/s".into()),
        data_home: Some("/d".into()),
        session_dir: Some("/r".into()),
        ..host()
    };
    for (host, wanted) in [
        (
            host(),
            &[
                "/home/ann/.config/sbx",
                "/home/ann/.local/state/sbx",
                "/home/ann/.local/share/sbx",
                "/run/user/1000/sbx",
                "/etc/sbx",
                "/usr/share/sbx",
            ][..],
        ),
        (nothing, &["/etc/sbx", "/usr/share/sbx"]),
        (elsewhere, &["/c/sbx", "/s/sbx", "/d/sbx", "/r/sbx", "/etc/sbx", "/usr/share/sbx"]),
    ] {
        let plan = plan_on(&host, &[], &[]).expect("a plan");
        assert_eq!(plan.guarded, wanted.iter().map(PathBuf::from).collect::<Vec<_>>());
    }
}

#[test]
fn the_network_shows_in_what_names_resolve_to() {
    for (arguments, mode, resolv, hosts) in [
        (&[][..], NetworkMode::None, "# This sandbox has no network.\n", "127.0.0.1 localhost sandbox\n"),
        (&["--hostname", "box"], NetworkMode::None, "# This sandbox", "127.0.0.1 localhost box\n"),
        (&["--net", "host"], NetworkMode::Host, "nameserver 192.0.2.1\n", "192.0.2.2 intern\n"),
    ] {
        let plan = plan(&[], arguments);
        assert_eq!(plan.namespaces.network.value, mode);
        let json = serde_json::to_value(&plan).expect("JSON");
        let file = |name: &str| {
            let mounts = json["mounts"].as_array().expect("a list");
            let mount = mounts.iter().find(|mount| mount["dest"] == name).expect("a file");
            mount["content"]["bytes"].as_str().expect("text").to_owned()
        };
        assert!(
            file("/etc/resolv.conf").starts_with(resolv) && file("/etc/hosts").starts_with(hosts),
            "{arguments:?}"
        );
    }
}

#[test]
fn shipped_profiles_are_planned() {
    let search = sbx::profile::search::SearchPath::from_directories(Vec::new());
    let uid = nix::unistd::getuid().as_raw();
    for name in ["default", "base-cli", "build", "offline", "shell"] {
        for host in [host(), root_host()] {
            let profile = sbx::profile::load::load(&[name.into()], &[], &search, uid).expect(name);
            let plan = resolve(&profile, &typed(&[]), &host).expect(name);
            assert_eq!(plan.profile, name);
            let given = plan.directory.value.0.starts_with("/home/ann/project");
            assert_eq!(given, ["default", "build"].contains(&name), "{name}");
            assert_eq!(plan.namespaces.network.value, NetworkMode::None);
            assert_eq!(plan.terminal.value, TerminalMode::Pty);
            assert!(plan.misses.is_empty());
        }
    }
    assert_eq!(profile(&[], &[]).name, "offline");
    assert!(matches!(refusal(&Host { home: None, ..host() }, &[], &[]), PlanError::NoHome));
}

#[test]
fn landlock_is_what_the_kernel_can_and_the_level_asks() {
    let old = Host { landlock_abi: 5, ..host() };
    for (host, text, arguments, wanted) in [
        (&host(), "", &[][..], Ok((2, 0))),
        (&host(), "[landlock]\nlevel = 'off'", &[], Ok((0, 0))),
        (&host(), "[landlock]\nscope = ['-signal']", &[], Ok((1, 0))),
        (&host(), "[landlock]\nlevel = 'require'", &["--strict"], Ok((2, 0))),
        (&old, "", &[], Ok((0, 0))),
        (&old, "[landlock]\nlevel = 'off'", &["--strict"], Ok((0, 0))),
        (&old, "[landlock]\nlevel = 'prefer'", &[], Ok((0, 1))),
        (&old, "[landlock]\nlevel = 'prefer'", &["--strict"], Err(())),
        (&old, "[landlock]\nlevel = 'require'", &[], Err(())),
        (&old, "", &["--strict"], Err(())),
    ] {
        let plan = plan_on(host, &[text], arguments);
        let found = plan.as_ref().map(|plan| (plan.landlock_scope.len(), plan.misses.len())).map_err(drop);
        assert_eq!(found, wanted, "{text} {arguments:?}");
        if let Err(error) = plan {
            assert!(error.to_string().contains("Landlock ABI 5, not 6"), "{error}");
        }
    }
}

#[test]
fn files_are_ruled_by_landlock_where_it_is_asked_for() {
    let on = "[landlock]\nfiles = true\n";
    let off = Host { landlock_abi: 0, ..host() };
    for (host, rest, arguments, wanted) in [
        (&host(), "", &[][..], Ok((Some(7), 0))),
        (&host(), "", &["--set", "landlock.files=false"], Ok((None, 0))),
        (&host(), "level = 'off'", &[], Ok((None, 0))),
        (
            &Host { landlock_abi: 1, ..host() },
            "scope = ['-signal', '-abstract-unix']",
            &["--strict"],
            Ok((Some(1), 0)),
        ),
        (&off, "scope = ['-signal', '-abstract-unix']", &[], Ok((None, 1))),
        (&off, "scope = ['-signal', '-abstract-unix']", &["--strict"], Err("this kernel has no Landlock")),
        (&off, "level = 'require'", &[], Err("this kernel has no Landlock")),
        (&host(), "[namespaces]\nnested = 'browser'", &[], Ok((Some(7), 0))),
        (&host(), "[namespaces]\nnested = 'full'", &[], Err("forbid every mount")),
    ] {
        let text = format!("{on}{rest}");
        match (plan_on(host, &[&text], arguments), wanted) {
            (Ok(plan), Ok(wanted)) => {
                assert_eq!((plan.landlock_files.map(|abi| abi.value), plan.misses.len()), wanted, "{text}");
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
            (plan, _) => panic!("{text} {arguments:?}: {:?}", plan.map(drop)),
        }
    }
}

#[test]
fn the_filter_is_what_the_lists_say() {
    let filter = |text: &str| plan_on(&host(), &[text], &[]).expect(text).seccomp.expect("a filter").policy();
    let policy = filter("[seccomp]\nallow = ['@debug']\ndeny = ['mkdir']\n[namespaces]\nnested = 'browser'");
    assert_eq!((policy.allow, policy.deny), (vec!["@debug".to_owned()], vec!["mkdir".to_owned()]));
    assert_eq!(policy.nested, sbx::seccomp::NestedCalls::Browser);
    for (text, part) in [
        ("[seccomp]\nallow = ['ptrce']", "the nearest is `ptrace`"),
        ("[seccomp]\ndeny = ['@debgu']", "the nearest is `@debug`"),
        ("[seccomp]\ndeny = ['execve']", "can't be denied"),
    ] {
        let error = plan_on(&host(), &[text], &[]).expect_err(text);
        assert!(error.to_string().contains(part), "{error}");
    }
}

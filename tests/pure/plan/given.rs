//! What a plan is made from: a made-up machine, profiles as text, a command line.

use sbx::cli::{self, Action};
use sbx::host::cgroups::{Hierarchy, NoManager};
use sbx::host::{Cgroups, Entry, Host, SubordinateIds, WorkingDirectory};
use sbx::invocation::Invocation;
use sbx::plan::{BindSource, Mount, MountOp, Plan, PlanError, resolve};
use sbx::profile::load::load;
use sbx::profile::search::SearchPath;
use sbx::profile::{Profile, ProfileError};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A machine and its user, Ann, in her project.
pub(crate) fn host() -> Host {
    let link = |name, target: &str| (name, Entry::Link(target.into()));
    Host {
        uid: 1000,
        gid: 1001,
        user: "ann".to_owned(),
        home: Some("/home/ann".into()),
        real_homes: vec!["/home/ann".into()],
        cwd: WorkingDirectory::Known("/home/ann/project".into()),
        environment: variables(&[
            ("PATH", "/usr/bin:/bin"),
            ("HOME", "/home/ann"),
            ("LANG", "C.UTF-8"),
            ("SECRET", "s"),
        ]),
        runtime_dir: Some("/run/user/1000".into()),
        config_home: Some("/home/ann/.config".into()),
        data_home: Some("/home/ann/.local/share".into()),
        state_home: Some("/home/ann/.local/state".into()),
        downloads: Some("/home/ann/Downloads".into()),
        system: vec![link("bin", "usr/bin"), link("lib", "usr/lib"), ("lib64", Entry::Real)],
        etc: vec![
            ("ssl", Entry::Real),
            ("shells", Entry::SmallFile),
            link("localtime", "/usr/share/zoneinfo/UTC"),
        ],
        stores: Vec::new(),
        resolv_conf: b"nameserver 192.0.2.1\n".to_vec(),
        hosts: b"192.0.2.2 intern\n".to_vec(),
        landlock_abi: 7,
        watches: Some((128, 8193)),
        private_proc: vec!["/proc/keys"],
        writable_proc: Vec::new(),
        desktop: None,
        toolchains: Vec::new(),
        named_files: Vec::new(),
        image: None,
        session_dir: Some("/run/user/1000".into()),
        cgroups: Some(no_cgroups()),
        subordinate: SubordinateIds::default(),
        fuse_overlayfs: None,
    }
}

/// A machine without cgroups.
pub(crate) fn no_cgroups() -> Cgroups {
    Cgroups {
        hierarchy: Hierarchy::None,
        manager: Err(NoManager::NotRunning),
        own: None,
        given: None,
        ceilings: Vec::new(),
        devices: Vec::new(),
    }
}

/// The same machine, used by root.
pub(crate) fn root_host() -> Host {
    Host {
        uid: 0,
        gid: 0,
        user: "root".to_owned(),
        home: Some("/root".into()),
        real_homes: vec!["/root".into()],
        landlock_abi: 7,
        writable_proc: vec!["/proc/sys", "/proc/irq"],
        ..host()
    }
}

pub(crate) fn in_directory(cwd: &str) -> Host {
    Host { cwd: WorkingDirectory::Known(cwd.into()), ..host() }
}

pub(crate) fn variables(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    list.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// The command line as an invocation; a command is added.
pub(crate) fn typed(arguments: &[&str]) -> Invocation {
    with_command(arguments, &["tool".into()])
}

pub(crate) fn with_command(arguments: &[&str], command: &[OsString]) -> Invocation {
    let words: Vec<OsString> =
        arguments.iter().map(Into::into).chain(["--".into()]).chain(command.iter().cloned()).collect();
    match cli::parse(&words) {
        Ok(Action::Run(invocation, _)) => invocation,
        other => panic!("{arguments:?}: {other:?}"),
    }
}

/// Profiles of these texts, the later ones on top, and each `--set`.
pub(crate) fn try_profile(texts: &[&str], set: &[String]) -> Result<Profile, ProfileError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let uid = nix::unistd::getuid().as_raw();
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let place = PathBuf::from(format!("/var/tmp/sbx-pure-{}-{number}", std::process::id()));
    fs::create_dir(&place).expect("a directory in /var/tmp");
    let names: Vec<OsString> = (0..texts.len())
        .map(|number| {
            let name = format!("p{number}");
            fs::write(place.join(format!("{name}.toml")), format!("schema = 1\n{}\n", texts[number]))
                .expect("a profile");
            name.into()
        })
        .collect();
    // No name at all would mean the shipped profile `default`.
    let names = if names.is_empty() { vec!["offline".into()] } else { names };
    let profile = load(&names, set, &SearchPath::from_directories(vec![place.clone()]), uid);
    fs::remove_dir_all(place).expect("to remove the directory");
    profile
}

pub(crate) fn profile(texts: &[&str], set: &[String]) -> Profile {
    try_profile(texts, set).unwrap_or_else(|error| panic!("{texts:?} {set:?}: {error}"))
}

/// The plan of these profiles and this command line on this machine. What every plan must hold is checked.
pub(crate) fn plan_on(host: &Host, texts: &[&str], arguments: &[&str]) -> Result<Plan, PlanError> {
    let invocation = typed(arguments);
    let profile = profile(texts, &invocation.set);
    let plan = resolve(&profile, &invocation, host)?;
    assert_eq!(resolve(&profile, &invocation, host), Ok(plan.clone()), "the same again gives another plan");
    check(&plan);
    Ok(plan)
}

/// The plan of these profiles and this command line.
pub(crate) fn plan(texts: &[&str], arguments: &[&str]) -> Plan {
    plan_on(&host(), texts, arguments).unwrap_or_else(|error| panic!("{texts:?} {arguments:?}: {error}"))
}

/// Why there is no plan.
pub(crate) fn refusal(host: &Host, texts: &[&str], arguments: &[&str]) -> PlanError {
    match plan_on(host, texts, arguments) {
        Err(error) => error,
        Ok(_) => panic!("{texts:?} {arguments:?} is planned"),
    }
}

/// What holds for every plan.
fn check(plan: &Plan) {
    let mut before = BTreeSet::new();
    let puts = |mount: &&Mount| !matches!(mount.op, MountOp::Own { .. });
    for mount in plan.mounts.iter().filter(puts) {
        let dest = &mount.dest;
        let overlays = matches!(mount.op, MountOp::Overlay { .. });
        assert!(dest.is_absolute() && (overlays || dest != Path::new("/")), "{dest:?}");
        let plain = |part: Component| matches!(part, Component::RootDir | Component::Normal(_));
        assert!(dest.components().all(plain) && *dest == dest.components().collect::<PathBuf>(), "{dest:?}");
        let below = before.iter().find(|other: &&PathBuf| other.starts_with(dest));
        assert_eq!(below, None, "{dest:?} comes after what lies in it");
        before.insert(dest.clone());
    }
    let names: Vec<_> = plan.environment.iter().map(|variable| &variable.name).collect();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "not sorted, or one twice: {names:?}");
    let pwd = plan.environment.iter().find(|variable| variable.name == "PWD");
    assert_eq!(pwd.map(|variable| Path::new(&variable.value)), Some(plan.directory.value.0.as_path()));
    let privileges = &plan.privileges;
    assert!(privileges.drop_capabilities && privileges.no_new_privs && privileges.hide_init);
    let layered = plan.mounts.first().is_some_and(|mount| mount.dest == Path::new("/"));
    assert!((layered || plan.root.read_only) && !plan.mount_points_on_host);
    let namespaces = &plan.namespaces;
    assert!(namespaces.pid && namespaces.uts && namespaces.ipc && namespaces.cgroup);
    assert_eq!(plan.limits.core.value, 0);
    let json = sbx::explain::json(plan).expect("JSON");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["mounts"].as_array().map(Vec::len), Some(plan.mounts.len()));
    assert_eq!(json["version"], 1);
    assert!(sbx::explain::text(plan).is_ascii() || !json.to_string().is_ascii());
}

/// A mount in one line: where, what, and from where if that is another place.
pub(crate) fn line(mount: &Mount) -> String {
    let what = format!("{} {}", mount.dest.display(), mount.op.word());
    match &mount.op {
        MountOp::Bind { source: BindSource::Path(path), optional, .. } => {
            let from = if *path == mount.dest { String::new() } else { format!(" {}", path.display()) };
            format!("{what}{from}{}", if *optional { "?" } else { "" })
        }
        MountOp::Symlink { target } => format!("{what} {}", target.display()),
        MountOp::Tmpfs { size, .. } if *size != 1 << 30 => format!("{what} {size}"),
        _ => what,
    }
}

/// The mounts at and below a place, in order.
pub(crate) fn below(plan: &Plan, place: &str) -> Vec<String> {
    plan.mounts.iter().filter(|mount| mount.dest.starts_with(place)).map(line).collect()
}

/// The mount at a place.
pub(crate) fn at<'a>(plan: &'a Plan, place: &str) -> Option<&'a Mount> {
    plan.mounts.iter().find(|mount| mount.dest == Path::new(place))
}

/// The value of a variable inside.
pub(crate) fn variable<'a>(plan: &'a Plan, name: &str) -> Option<&'a std::ffi::OsStr> {
    plan.environment.iter().find(|variable| variable.name == name).map(|variable| variable.value.as_os_str())
}

//! The keys of profiles.

use super::*;

/// The keys of a table that stands for a limit.
const LIMIT: [&str; 2] = ["value", "level"];

/// Whether a limit may have a level of its own.
pub(super) fn has_level(key: &str) -> bool {
    let setting = format!("{key}={{ no-such-key = 1 }}");
    let error = load::load(&[], &[setting], &search(), 0);
    matches!(error, Err(ProfileError::UnknownKey { known, .. }) if known == LIMIT)
}

/// Every key that the parser knows, as it says itself when asked for one that it doesn't.
pub(super) fn schema_keys(prefix: &str) -> BTreeSet<String> {
    let known = |key: String| match load::load(&[], &[format!("{key}=1")], &search(), 0) {
        Err(ProfileError::UnknownKey { known, .. }) => Some(known),
        _ => None,
    };
    let mut keys = BTreeSet::new();
    for name in known(format!("{prefix}no-such-key")).unwrap_or_default() {
        let key = format!("{prefix}{name}");
        match known(format!("{key}.no-such-key")) {
            Some(inner) if inner != LIMIT => keys.extend(schema_keys(&format!("{key}."))),
            _ => _ = keys.insert(key),
        }
    }
    keys
}

fn key_items() -> Vec<(String, String)> {
    let items = items(&section(&read("man/sbx-profile.5"), "KEYS"));
    items.into_iter().filter_map(|(tag, body)| Some((tag.strip_prefix("Ic ")?.to_owned(), body))).collect()
}

/// Whether the program refuses some value of a key; nothing for the keys of files.
pub(super) fn key_refused(key: &str) -> Option<bool> {
    let (_, values) = KEYS.iter().find(|(known, _)| *known == key)?;
    let lines = values.iter().map(|value| {
        let setting = format!("{key}={value}");
        set_in_order([Some("--set"), Some(setting.as_str()), Some("true")])
    });
    Some(is_refused(lines))
}

#[test]
fn keys() {
    let items = key_items();
    let documented = set(items.iter().map(|(key, _)| key.as_str()));
    let schema = schema_keys("");
    assert_eq!(documented, schema, "keys of the page (left) and of the parser (right)");
    assert_eq!(documented.len(), items.len(), "a key is documented twice");
    let tested = set(KEYS.iter().map(|(key, _)| *key).chain(FILE_KEYS.iter().copied()));
    assert_eq!(tested, schema, "keys of this test (left) and of the parser (right)");
    for (key, body) in &items {
        assert!(body.starts_with("Type: ") && body.contains(" Default: "), "{key} has no type or default");
        if let Some(refused) = key_refused(key) {
            check_marked(key, body, refused);
        }
    }
}

#[test]
fn keys_of_entries() {
    let items = key_items();
    for key in ["filesystem.read", "filesystem.write", "filesystem.tmpfs", "filesystem.overlay", "limits.io"]
    {
        let setting = format!("{key}=[{{ path = '/a', no-such-key = 1 }}]");
        let Err(ProfileError::UnknownKey { known, .. }) = load::load(&[], &[setting], &search(), 0) else {
            panic!("{key} takes any key");
        };
        let body = &items.iter().find(|(name, _)| name == key).expect("there is an entry").1;
        for name in known {
            assert!(body.split_whitespace().any(|word| word == name), "{key}: {name}");
        }
    }
}

#[test]
fn levels_of_limits() {
    for (key, body) in key_items() {
        let says = body.split_once(" Default: ").is_some_and(|(kind, _)| kind.ends_with(", with a level."));
        assert_eq!(says, has_level(&key), "{key}: the page (left), the parser (right)");
    }
}

/// The closed sets of words.
pub(super) const WORDS: &[(&str, &[&str])] = &[
    ("filesystem.cwd", CwdMode::WORDS),
    ("filesystem.arguments", ArgumentsMode::WORDS),
    ("filesystem.overlay-driver", OverlayDriver::WORDS),
    ("home.mode", HomeMode::WORDS),
    ("namespaces.nested", Nested::WORDS),
    ("privileges.uid", UidMap::WORDS),
    ("network.mode", NetworkMode::WORDS),
    ("limits.cgroup", Level::WORDS),
    ("limits.level", Level::WORDS),
    ("landlock.level", Level::WORDS),
    ("landlock.scope", LandlockScope::WORDS),
    ("display.x11", X11Mode::WORDS),
    ("toolchains", Toolchain::WORDS),
    ("lifecycle.background", Background::WORDS),
    ("terminal.mode", TerminalMode::WORDS),
];

#[test]
fn words() {
    let items = key_items();
    for (key, words) in WORDS {
        let body = &items.iter().find(|(known, _)| known == key).expect("there is an entry").1;
        for word in *words {
            assert!(body.split_whitespace().any(|part| part == *word), "{key}: {word} is not documented");
        }
    }
}

/// The defaults, but those of lists that are empty and of keys that have none.
pub(super) fn defaults() -> Vec<(&'static str, String)> {
    let Profile { filesystem, namespaces, network, limits, seccomp, landlock, environment, display, .. } =
        Profile::default();
    let profile = Profile::default();
    let scope: Vec<&str> = landlock.scope.iter().map(|scope| scope.value.word()).collect();
    let protect: Vec<String> = filesystem.protect.into_iter().map(|path| path.value).collect();
    let keep: Vec<&str> = environment.keep.iter().map(|pattern| pattern.value.as_str()).collect();
    vec![
        ("filesystem.protect", protect.join(", ")),
        ("environment.keep", keep.join(", ")),
        ("filesystem.root", "host".to_owned()),
        ("filesystem.writable", "tmpfs".to_owned()),
        ("filesystem.cwd", filesystem.cwd.value.word().to_owned()),
        ("filesystem.arguments", filesystem.arguments.value.word().to_owned()),
        ("filesystem.accounts", filesystem.accounts.value.to_string()),
        ("filesystem.overlay-driver", filesystem.overlay_driver.value.word().to_owned()),
        ("home.mode", profile.home.value.word().to_owned()),
        ("namespaces.nested", namespaces.nested.value.word().to_owned()),
        ("namespaces.hostname", namespaces.hostname.value),
        ("privileges.uid", profile.privileges.uid.value.word().to_owned()),
        ("network.mode", network.mode.value.word().to_owned()),
        ("network.block-lan", network.block_lan.value.to_string()),
        ("limits.pids", limits.pids.value.value.to_string()),
        ("limits.delegate", limits.delegate.value.to_string()),
        ("limits.cgroup", limits.cgroup.value.word().to_owned()),
        ("limits.level", limits.level.value.word().to_owned()),
        ("seccomp.multiarch", seccomp.multiarch.value.to_string()),
        ("landlock.level", landlock.level.value.word().to_owned()),
        ("landlock.scope", scope.join(", ")),
        ("landlock.files", landlock.files.value.to_string()),
        ("display.wayland", display.wayland.value.word().to_owned()),
        ("display.x11", display.x11.value.word().to_owned()),
        ("audio.playback", profile.audio_playback.value.to_string()),
        ("devices.gpu", profile.devices_gpu.value.to_string()),
        ("lifecycle.background", profile.background.value.word().to_owned()),
        ("terminal.mode", profile.terminal.value.word().to_owned()),
    ]
}

#[test]
fn defaults_are_documented() {
    let items = key_items();
    // The page has lists in its own words.
    let lists = ["filesystem.protect", "environment.keep"];
    for (key, default) in defaults().into_iter().filter(|(key, _)| !lists.contains(key)) {
        let body = &items.iter().find(|(known, _)| known == key).expect("there is an entry").1;
        assert!(body.contains(&format!(" Default: {default}. ")), "{key}: the default is {default}");
    }
    let Profile { namespaces, network, limits, .. } = Profile::default();
    let sizes = [&limits.memory, &limits.memory_high, &limits.swap];
    let counts = [&limits.cpu_weight, &limits.io_weight, &limits.cgroups, &limits.cgroup_depth];
    assert!(sizes.into_iter().all(Option::is_none) && counts.into_iter().all(Option::is_none));
    assert!(limits.cpus.is_none() && limits.cpuset.is_none() && limits.io.is_empty());
    assert!(limits.nice.is_none() && limits.io_priority.is_none() && limits.cgroup_parent.is_none());
    assert!(limits.open_files.is_none() && limits.timeout.is_none() && network.bandwidth.is_none());
    assert!(namespaces.time.is_none());
}

#[test]
fn kept_variables() {
    let environment = section(&read("man/sbx.1"), "ENVIRONMENT");
    let words: BTreeSet<&str> = environment.split_whitespace().collect();
    let uid = nix::unistd::getuid().as_raw();
    for listing in load::list(&search(), uid) {
        let profile = load::load(&[listing.name.into()], &[], &search(), 0).expect("a built-in profile");
        for pattern in &profile.environment.keep {
            let name = pattern.value.as_str();
            assert!(words.contains(name), "{name} of {} is not documented", profile.name);
        }
    }
}

#[test]
fn built_in_profiles() {
    let uid = nix::unistd::getuid().as_raw();
    let names = set(load::list(&search(), uid).into_iter().map(|listing| listing.name));
    let page = read("man/sbx-profile.5");
    let line = page.split_once("the profiles compiled in:\n.Li ").expect("they are listed").1;
    let documented = set(line.lines().next().unwrap_or_default().split(" , "));
    assert_eq!(documented, names, "profiles of the page (left) and of the program (right)");
}

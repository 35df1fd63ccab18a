//! Names, layers, `extends`, `match` and lists.
#![forbid(unsafe_code)]

use std::path::Path;

use super::{Scratch, uid};
use crate::profile::builtin::BUILTIN;
use crate::profile::load::{ProfileError, find_match, list};
use crate::profile::{CwdMode, NetworkMode};

#[test]
fn shipped_profiles_load_without_warnings() {
    let scratch = Scratch::new();
    for (name, text) in BUILTIN {
        let (profile, warnings) = scratch.load(&[name], &[]).unwrap();
        assert_eq!(warnings, [], "{name}");
        assert_eq!(profile.name, *name);
        assert!(profile.description.is_some(), "{name}");
        // The same as a file.
        let file = scratch.write(&format!("{name}.toml"), text);
        assert_eq!(scratch.check(&file).unwrap().1, [], "{name}");
    }
    assert_eq!(scratch.profile(&[]).name, "default");
    assert_eq!(scratch.profile(&[]).filesystem.cwd.value, CwdMode::Rw);
    assert_eq!(scratch.profile(&["shell"]).filesystem.cwd.value, CwdMode::None);
    assert_eq!(scratch.profile(&["build"]).layers, ["built-in profile base-cli", "built-in profile build"]);
}

#[test]
fn the_upper_layer_hides_the_lower() {
    let scratch = Scratch::with(&[
        ("upper/x.toml", "description = 'upper'"),
        ("lower/x.toml", "description = 'lower'\n[network]\nmode = 'host'"),
    ]);
    let profile = scratch.profile(&["x"]);
    assert_eq!(profile.description.unwrap().value, "upper");
    assert_eq!(profile.network.mode.value, NetworkMode::None);
}

#[test]
fn a_profile_on_top_of_its_namesake() {
    let scratch = Scratch::with(&[
        ("upper/build.toml", "extends = ['build']\n[network]\nmode = 'host'"),
        ("lower/build.toml", "extends = ['build']\n[limits]\npids = 7"),
        ("upper/mine.toml", "extends = ['mine']"),
    ]);
    let profile = scratch.profile(&["build"]);
    assert_eq!((profile.network.mode.value, profile.limits.pids.value.value), (NetworkMode::Host, 7));
    assert!(profile.description.unwrap().value.starts_with("Builds"));
    assert_eq!(profile.layers.len(), 4);
    assert_eq!(
        scratch.error(&["mine"]),
        "sbx: error: @/upper/mine.toml:2:12: `mine` extends its own name, but there is none below\n  \
         | extends = ['mine']\n  |            ^^^^^^\n"
    );
    // The same file by its path is the same layer.
    assert_eq!(scratch.check(&scratch.path("upper/build.toml")).unwrap().0, scratch.profile(&["build"]));
}

#[test]
fn each_profile_is_merged_once_at_its_first_place() {
    let scratch = Scratch::with(&[
        ("upper/base.toml", "[limits]\npids = 1"),
        ("upper/left.toml", "extends = ['base']\n[limits]\npids = 2"),
        ("upper/right.toml", "extends = ['base']"),
    ]);
    let profile = scratch.profile(&["left", "right", "base"]);
    assert_eq!(profile.limits.pids.value.value, 2);
    assert_eq!(profile.name, "left+right+base");
    let stems: Vec<_> = profile.layers.iter().map(|layer| Path::new(layer).file_stem().unwrap()).collect();
    assert_eq!(stems, ["base", "left", "right"]);
}

#[test]
fn cycles() {
    let scratch = Scratch::with(&[
        ("upper/a.toml", "extends = ['b']"),
        ("upper/b.toml", "extends = [\n  'offline',\n  'c',\n]"),
        ("upper/c.toml", "extends = ['a']"),
    ]);
    assert_eq!(
        scratch.error(&["a"]),
        "sbx: error: @/upper/c.toml:2:12: profiles extend each other: `a` extends `b` extends `c` extends `a`\n  \
         | extends = ['a']\n  |            ^^^\n"
    );
    let path = scratch.write("self.toml", "");
    scratch.write("self.toml", format!("schema = 1\nextends = [{path:?}]"));
    assert!(matches!(scratch.check(&path), Err(ProfileError::Cycle { .. })));
}

#[test]
fn no_more_than_a_bound() {
    let scratch = Scratch::new();
    for number in 0..70 {
        let text = format!("schema = 1\nextends = ['p{}']", number + 1);
        scratch.write(&format!("upper/p{number}.toml"), text);
    }
    assert_eq!(scratch.load(&["p0"], &[]).unwrap_err(), ProfileError::TooMany { limit: 64 });
    scratch.write("upper/p63.toml", "schema = 1");
    scratch.profile(&["p0"]);
}

#[test]
fn names() {
    let scratch = Scratch::with(&[
        ("upper/bad.toml", "extends = ['biuld']"),
        ("upper/path.toml", "extends = ['../x']"),
    ]);
    for (name, message) in [
        ("biuld", "cannot find profile `biuld`\n  hint: did you mean `build`?\n"),
        ("firefox", "cannot find profile `firefox`\n  hint: `sbx profiles` lists what there is\n"),
        ("x.toml", "cannot find profile `x.toml`\n  hint: a path to a file has a `/` in it: `./x.toml`\n"),
        (
            "Build!\n",
            "cannot use `Build!\\n` as a profile name: names are lower-case letters, digits, `.`, `_` and `-`\n  \
             hint: a path to a file has a `/` in it, as in `./my.toml`\n",
        ),
        (
            "bad",
            "@/upper/bad.toml:2:12: cannot find profile `biuld`\n  | extends = ['biuld']\n  |            ^^^^^^^\n  \
             hint: did you mean `build`?\n",
        ),
        (
            "path",
            "@/upper/path.toml:2:12: `../x` is neither a name nor an absolute path\n  \
             | extends = ['../x']\n  |            ^^^^^^\n",
        ),
    ] {
        assert_eq!(scratch.error(&[name]), format!("sbx: error: {message}"));
    }
    for name in ["", ".", "..", "-x", "a b", &"a".repeat(101)] {
        assert!(matches!(scratch.load(&[name], &[]), Err(ProfileError::InvalidName { .. })), "{name}");
    }
}

#[test]
fn matching() {
    let scratch = Scratch::with(&[
        ("upper/vim.toml", "match = ['/usr/bin/vim']"),
        ("upper/child.toml", "extends = ['vim']"),
        ("lower/vi.toml", "match = ['/usr/bin/vim', '/usr/bin/vi']"),
        ("lower/escaped.toml", "\"m\\u0061tch\" = [\"/usr/bin/\\u0065macs\"]"),
        ("upper/ninja.toml", "match = ['/usr/bin/ninja']"),
        ("lower/ninja.toml", "match = ['/usr/bin/hidden']"),
    ]);
    let matched = |command: &str| find_match(Path::new(command), &scratch.search, uid());
    for (command, name) in [
        ("/usr/bin/vim", Some("vim")),
        ("/usr/bin/vi", Some("vi")),
        ("/usr/bin/emacs", Some("escaped")),
        ("/usr/bin/make", Some("build")),
        ("/usr/bin/ninja", Some("ninja")),
        ("/usr/bin/hidden", None),
        ("/usr/bin/mak", None),
        ("vim", None),
    ] {
        assert_eq!(matched(command).unwrap().as_deref(), name, "{command}");
    }
    scratch.write("upper/gvim.toml", "schema = 1\nmatch = ['/usr/bin/gvim', '/usr/bin/vim']");
    assert_eq!(
        scratch.render(&matched("/usr/bin/vim").unwrap_err()),
        "sbx: error: cannot choose a profile for `/usr/bin/vim`: both @/upper/gvim.toml:2:27 \
         and @/upper/vim.toml:2:10 match it\n  hint: choose one with --profile\n"
    );
}

#[test]
fn listing() {
    let scratch = Scratch::with(&[
        ("upper/build.toml", "description = 'Mine'"),
        ("lower/build.toml", ""),
        ("lower/broken.toml", "nope = 1"),
        ("lower/My Profile.toml", ""),
    ]);
    scratch.write("lower/notes.txt", "");
    let all = list(&scratch.search, uid());
    let names: Vec<&str> = all.iter().map(|listing| listing.name.as_str()).collect();
    let builtin = crate::profile::builtin::BUILTIN.iter().map(|(name, _)| *name);
    let mut expected: Vec<&str> = builtin.chain(["My Profile", "broken"]).collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
    let listed = |name: &str| all.iter().find(|listing| listing.name == name).expect("it is listed");
    assert!(listed("My Profile").description.starts_with("cannot use `My Profile` as a profile name"));
    assert!(listed("broken").description.ends_with("lower/broken.toml:2:1: unknown key `nope`"));
    let build = listed("build");
    assert_eq!(build.description, "Mine");
    assert_eq!(build.source, scratch.path("upper/build.toml").to_str().unwrap());
    assert_eq!(build.shadows, [scratch.path("lower/build.toml")]);
    assert_eq!(listed("default").source, "built-in");
}

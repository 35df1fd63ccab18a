//! What a person reads about a mistake.
#![forbid(unsafe_code)]

use super::Scratch;

#[test]
fn messages() {
    // The text after `schema = 1`; where the caret starts; the message; the hint.
    for (text, place, message, hint) in [
        ("zzzzzz = 1", "2:1", "unknown key `zzzzzz`", Some("there is ")),
        ("[limits]\npid = 1", "3:1", "unknown key `pid`", Some("did you mean `pids`?")),
        ("[filesytem]\nread = []", "2:2", "unknown key `filesytem`", Some("did you mean `filesystem`?")),
        (
            "filesystem.read = [{ path = '/a', optinal = true }]",
            "2:35",
            "unknown key `optinal`",
            Some("did you mean `optional`?"),
        ),
        ("filesystem.read = [{ dest = '/a' }]", "2:20", "there is no `path` in this table", None),
        ("description = 3", "2:15", "this must be a string, not integer `3`", None),
        ("extends = 'build'", "2:11", "this must be a list, not string \"build\"", None),
        ("limits = ['2G']", "2:10", "this must be a table, not a list", None),
        ("filesystem = 1979-05-27", "2:14", "a date has no place here", None),
        ("[limits]\npids = '5'", "3:8", "this must be a number, not string \"5\"", None),
        ("[limits]\npids = 0", "3:8", "0 is too small; 1 is the least", None),
        ("[limits]\ncpus = nan", "3:8", "NaN is not a number of processors above 0", None),
        ("[limits]\nmemory = '2X'", "3:10", "`2X` is not a size; write it like 512M or 1.5G", None),
        ("[limits]\nmemory = -1", "3:10", "-1 is out of range here", None),
        (
            "[limits]\nmemory = true",
            "3:10",
            "this must be a size such as \"512M\", or a number of bytes, not boolean `true`",
            None,
        ),
        (
            "[limits]\nlevel = 'prefre'",
            "3:9",
            "`prefre` is not one of require, prefer, available, off; did you mean `prefer`?",
            None,
        ),
        ("[filesystem]\nread = ['/ok', 'etc']", "3:16", "`etc` is not an absolute path", None),
        ("[filesystem]\nread = ['-etc']", "3:9", "`etc` is not an absolute path", None),
        ("[filesystem]\nhide = [{ path = '/a' }]", "3:9", "this must be a path, not a table", None),
        (
            "[filesystem]\nprotect = ['../x']",
            "3:12",
            "`../x` is not a path below a directory, like `.git/hooks`",
            None,
        ),
        (
            "[filesystem]\nroot = 'hots'",
            "3:8",
            "`hots` is not `host`, `empty`, an absolute path or `image:NAME`",
            None,
        ),
        ("match = ['${HOME}/x']", "2:10", "`${HOME}/x` is not the real absolute path of a command", None),
        (
            "privileges.capabilities = ['sys_admn']",
            "2:28",
            "`sys_admn` is not a capability; did you mean `CAP_SYS_ADMIN`?",
            None,
        ),
        ("app-id = 'org.x'", "2:10", "`org.x` is not an application id, like `org.example.Editor`", None),
        (
            "[environment]\nset = { A = true }",
            "3:13",
            "this must be a string, or false to remove it, not boolean `true`",
            None,
        ),
        ("[environment]\nset = { 'A=B' = 'x' }", "3:9", "`A=B` is not a variable's name", None),
        (
            "[network]\nallow = ['a b']",
            "3:10",
            "`a b` must be one word, without blanks or control characters",
            None,
        ),
        (
            "display.wayland = 'on'",
            "2:19",
            "this must be true, false or \"optional\", not string \"on\"",
            None,
        ),
        (
            "description = \"a\\u001bb\"",
            "2:15",
            "this must be one line of text, without control characters",
            None,
        ),
    ] {
        let scratch = Scratch::with(&[("upper/x.toml", text)]);
        let rendered = scratch.error(&["x"]);
        let first = rendered.lines().next().unwrap();
        assert_eq!(first, format!("sbx: error: @/upper/x.toml:{place}: {message}"), "{text}");
        assert!(rendered.contains("^"), "{rendered}");
        match hint {
            Some(hint) => assert!(rendered.contains(&format!("  hint: {hint}")), "{rendered}"),
            None => assert!(!rendered.contains("hint:"), "{rendered}"),
        }
    }
}

#[test]
fn host_names() {
    for name in ["", "-a", ".a", "a b", "a_b", "ä", &"a".repeat(65)] {
        let scratch = Scratch::with(&[("upper/x.toml", &format!("namespaces.hostname = {name:?}"))]);
        assert!(scratch.error(&["x"]).contains("is not a host name"), "{name}");
    }
}

#[test]
fn schema() {
    let scratch = Scratch::new();
    // A file for another schema is not measured by this one.
    for (text, message) in [
        (
            "",
            "@/upper/x.toml:1:1: there is no `schema` in this profile\n  | \n  | ^\n  hint: write `schema = 1` in its first line\n",
        ),
        (
            "schema = 2\nnew = 1",
            "@/upper/x.toml:1:10: cannot read schema 2: this sbx knows schema 1\n  | schema = 2\n  |          ^\n",
        ),
        (
            "schema = '1'",
            "@/upper/x.toml:1:10: this must be the number of a schema, not string \"1\"\n  | schema = '1'\n  |          ^^^\n",
        ),
        (
            "schema = 99999999999999999999",
            "@/upper/x.toml:1:10: cannot read schema 99999999999999999999: this sbx knows schema 1\n  | schema = 99999999999999999999\n  |          ^^^^^^^^^^^^^^^^^^^^\n",
        ),
    ] {
        scratch.write("upper/x.toml", text);
        assert_eq!(scratch.error(&["x"]), format!("sbx: error: {message}"));
    }
}

#[test]
fn syntax() {
    for text in ["x =", "a = [", "a = \"x\nb = 1", "[a\n", "schema = 1", "= 1", "a = 1__0"] {
        let scratch = Scratch::with(&[("upper/x.toml", text)]);
        let message = scratch.error(&["x"]);
        assert!(message.contains(": cannot read this as TOML: "), "{message}");
        assert_eq!(message.lines().filter(|line| line.starts_with("sbx: ")).count(), 1);
    }
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    for text in [
        format!("a = {}", "[".repeat(500_000)),
        format!("a = {}", "{a=".repeat(300_000)),
        format!("{}a = 1", "a.".repeat(500_000)),
        format!("[{}a]", "a.".repeat(500_000)),
    ] {
        let scratch = Scratch::with(&[("upper/x.toml", &text)]);
        assert!(scratch.load(&["x"], &[]).is_err());
    }
}

/// Mutations of a profile with every kind of value: each loads or is refused with a message.
#[test]
fn no_text_makes_it_panic() {
    let seed = include_str!("every-kind.toml");
    let scratch = Scratch::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(bound).unwrap()).unwrap()
    };
    let pieces = [
        "\"", "'", "[", "]", "{", "}", "=", "-", "\n", "\\u", "é", "\u{feff}", "${", "}", ".", "1e9", "0x",
        "`", ",",
    ];
    for _ in 0..3_000 {
        let mut text: Vec<char> = seed.chars().collect();
        for _ in 0..=random(4) {
            if text.is_empty() {
                break;
            }
            let at = random(text.len());
            match random(3) {
                0 => drop(text.remove(at)),
                1 => text.splice(at..at, pieces[random(pieces.len())].chars()).for_each(drop),
                _ => text.truncate(at.max(1)),
            }
        }
        let text: String = text.into_iter().collect();
        let path = scratch.write("x.toml", &text);
        if let Err(error) = scratch.check(&path) {
            assert!(scratch.render(&error).starts_with("sbx: error: "), "{text}");
        }
        let typed = text.lines().nth(random(text.lines().count().max(1))).unwrap_or_default();
        if let Err(error) = scratch.load(&[], &[typed]) {
            scratch.render(&error);
        }
    }
}

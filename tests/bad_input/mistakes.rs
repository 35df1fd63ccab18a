//! Mistakes in profiles. tests/docs asks the JSON Schema for its verdict on them, too.

/// A profile's text after `schema = 1`, the place of the mistake, the message, the hint.
pub(crate) type Mistake = (&'static str, &'static str, &'static str, Option<&'static str>);

/// One for each kind.
pub(crate) const MISTAKES: &[Mistake] = &[
    ("[limits]\npidz = 3", "3:1", "unknown key `pidz`", Some("did you mean `pids`?")),
    ("[limit]\npids = 3", "2:2", "unknown key `limit`", Some("did you mean `limits`?")),
    ("filesytem.read = []", "2:1", "unknown key `filesytem`", Some("did you mean `filesystem`?")),
    ("zzzzzzzz = 1", "2:1", "unknown key `zzzzzzzz`", Some("there is schema, description, extends")),
    (
        "filesystem.read = [{ path = '/a', optinal = true }]",
        "2:35",
        "unknown key `optinal`",
        Some("`optional`"),
    ),
    ("[limits]\npids = 'x'", "3:8", "this must be a number, not string \"x\"", None),
    ("[limits]\npids = -1", "3:8", "-1 is ", None),
    ("[limits]\npids = 0", "3:8", "0 is too small; 1 is the least", None),
    ("[limits]\nmemory = '2X'", "3:10", "`2X` is not a size; write it like 512M or 1.5G", None),
    (
        "[limits]\ntimeout = '5 minutes'",
        "3:11",
        "`5 minutes` is not a duration; write it like 30s or 1h30m",
        None,
    ),
    ("[filesystem]\ncwd = 'rx'", "3:7", "`rx` is not one of rw, ro, overlay, none; did you mean `ro`?", None),
    ("[filesystem]\nread = '/opt'", "3:8", "this must be a list, not string \"/opt\"", None),
    ("[filesystem]\nread = ['etc']", "3:9", "`etc` is not an absolute path", None),
    ("[filesystem]\nread = ['./etc']", "3:9", "`./etc` is not an absolute path", None),
    ("[filesystem]\nread = ['~/x']", "3:9", "`~/x` is not absolute; write `${HOME}`", None),
    ("[filesystem]\nread = ['${NOPE}/x']", "3:9", "`${NOPE}` is not known here; there is ${HOME}", None),
    ("[filesystem]\nread = ['/x/${HOME']", "3:9", "has a `${` without its `}`", None),
    ("[filesystem]\nread = ['/a/../b']", "3:9", "cannot use the path `/a/../b`: it holds `..`", None),
    ("[filesystem]\nread = [{ path = '/usr', dest = 'x' }]", "3:33", "`x` is not an absolute path", None),
    ("[filesystem]\nread = [{ dest = '/a' }]", "3:9", "there is no `path` in this table", None),
    ("[filesystem]\ntmpfs = [{ path = '/a', size = '1Q' }]", "3:32", "`1Q` is not a size", None),
    (
        "[filesystem]\nread = ['/usr']\nwrite = ['/usr']",
        "4:10",
        "`/usr` is named twice, first at ",
        Some("leave one"),
    ),
    ("filesystem = 3", "2:14", "this must be a table, not integer `3`", None),
    ("[environment]\nset = { 'A=B' = 'x' }", "3:9", "`A=B` is not a variable's name", None),
    ("match = ['make']", "2:10", "`make` is not the real absolute path of a command", None),
    ("extends = ['biuld']", "2:12", "cannot find profile `biuld`", Some("did you mean `build`?")),
    ("extends = ['sub/x']", "2:12", "`sub/x` is neither a name nor an absolute path", None),
    ("extends = 'build'", "2:11", "this must be a list, not string \"build\"", None),
    ("namespaces.hostname = 'a_b'", "2:23", "`a_b` is not a host name", None),
];

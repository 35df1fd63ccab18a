//! What the mutations start from.

use sbx::host::{Entry, Host, SubordinateIds, WorkingDirectory};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

/// Values of every kind, right for some keys, one a line.
pub(super) const VALUES: &str = r#""none"
"host"
"rw"
"1.5G"
"90s"
"-5"
0
7
-1
1.5
nan
true
false
[]
{}
"/a/b"
"-/a/b"
"${HOME}/x"
"${DOWNLOADS}"
"/a/../b"
"/"
""
"\u001b\u202e\n"
'LC_*'
{ path = "/p", dest = "/q" }
{ path = "/p", size = "1M" }
{ A = "1", B = false }
9223372036854775807
1979-05-27
"browser"
"own"
"x""#;

/// Keys of every table.
pub(super) const KEYS: &str = r#"cwd read write hide tmpfs overlay mode nested hostname time uid pids open-files timeout level set
keep extends description match "\u001b" limits.pids filesystem"#;

/// Words of command lines, and an empty one.
pub(super) const WORDS: &str = "run explain check profiles ps help -- - -p build --profile=shell --set limits.pids=7 \
    --set=filesystem.read=[\"/a\"] --set=namespaces.hostname=\"x\" --set=environment.set={A=\"b\"} --strict --ro /opt \
    --ro=/a:/b --rw=a\\:b:/c --rw ../x --hide=.env --tmpfs /scratch --overlay=. --root=/ --layer=/x --cwd none rw \
    --cwd=overlay --chdir /usr --net host --net=private --allow-host=a.b:1 --publish=80 --memory 1.5G --swap=0 --cpus 2 \
    --pids 500 --timeout 1h30m 250ms --env A=b LANG --env=C= --hostname=box --name=x --keep-fd 3 --die-with-parent -v -q \
    -vq --color=never --status-fd=3 --format=json --help --version make ls -la /usr/bin/true ";

pub(super) const WORD_PIECES: &[&[u8]] = &[
    b":",
    b"\\:",
    b"=",
    b"-",
    b"--",
    b"/",
    b"..",
    b"~",
    b"0",
    b"99999999999999999999",
    b".",
    b"\xff",
    b"\x1b[2J",
    b"\n",
    "é".as_bytes(),
    "\u{202e}".as_bytes(),
    "\u{61c}".as_bytes(),
    "\u{9b}".as_bytes(),
    b"${HOME}",
    b"\"",
    b"[",
    b"]",
    b"{",
    b"'",
    b",",
    b" ",
    b"\t",
    b"`",
];

pub(super) const TEXTS: &[&str] = &[
    "schema = 1\ndescription = \"x\"\nextends = [\"base-cli\", \"own\"]\nmatch = [\"/usr/bin/example\"]\n",
    "schema = 1\n[filesystem]\ncwd = \"ro\"\nread = [\"-/opt\", { path = \"${HOME}/é\", dest = \"/data\", optional = true }]\n\
     write = [{ path = \"${XDG_RUNTIME_DIR}/x\" }]\nhide = ['/a']\ntmpfs = [{ path = \"/var/tmp\", size = \"1.5GiB\" }]\n",
    "schema = 1\n[namespaces]\nhostname = \"box\"\nnested = \"browser\"\ntime = { boottime = \"-1h30m\", monotonic = 5 }\n\
     [home]\nmode = \"private\"\n[privileges]\nuid = \"root\"\n",
    "schema = 1\n[limits]\npids = 500\nopen-files = 0x40\ntimeout = \"250ms\"\nlevel = \"prefer\"\n[environment]\n\
     set = { CI = \"1\", \"ODD NAME\" = \"\\u0041\", OLD = false }\nkeep = [\"GIT_*\", \"-SHELL\"]\n",
    "schema = 1\napp-id = \"org.example.Seed\"\nfilesystem = { root = \"image:x\", layers = [\"/l\"], protect = [\".git/hooks\"] }\n\
     privileges.capabilities = [\"net_raw\"]\nlimits = { memory = \"2G\", cpus = 1.5 }\n",
    "schema = 1\n[network]\nmode = \"host\"\nallow = [\"*.example.org\"]\nbandwidth = { up = \"10M\", down = 1024 }\n\
     [display]\nwayland = \"optional\"\n[seccomp]\ndeny = ['ptrace']\n[landlock]\nscope = [\"signal\"]\nfiles = false\n",
];

pub(super) const TEXT_PIECES: &[&[u8]] = &[
    b"\"",
    b"'",
    b"[",
    b"]",
    b"{",
    b"}",
    b"=",
    b"-",
    b"\n",
    b"\r",
    b"\\u",
    b"\\u001b",
    b"\\u202e",
    b"\\u0000",
    "é".as_bytes(),
    "\u{feff}".as_bytes(),
    "\u{202e}".as_bytes(),
    "\u{85}".as_bytes(),
    b"\xff",
    b"\x1b",
    b"\0",
    b"${HOME}",
    b"${",
    b"}",
    b".",
    b"1e9",
    b"0x",
    b"`",
    b",",
    b"#",
    b"..",
    b"/",
    b"false",
    b"nan",
    b"1979-05-27",
    b"\"\"\"",
    b"9223372036854775808",
    b"filesystem.",
    b"schema = 1\n",
];

/// A machine that is not this one.
pub(super) fn host() -> Host {
    let word = |text: &str| OsString::from(text);
    Host {
        uid: 1234,
        gid: 2345,
        user: "ann".to_owned(),
        home: Some("/home/ann".into()),
        real_homes: vec!["/home/ann".into()],
        cwd: WorkingDirectory::Known("/home/ann/project".into()),
        environment: vec![
            (word("PATH"), word("/usr/bin")),
            (word("LANG"), word("C")),
            (OsString::from_vec(b"LC_\xff".to_vec()), OsString::from_vec(b"\x1b\xfe".to_vec())),
        ],
        runtime_dir: Some("/run/user/1234".into()),
        config_home: Some("/home/ann/.config".into()),
        data_home: Some("/home/ann/.local/share".into()),
        state_home: Some("/home/ann/.local/state".into()),
        downloads: None,
        system: vec![("bin", Entry::Link("usr/bin".into())), ("lib", Entry::Real)],
        etc: vec![("ld.so.cache", Entry::SmallFile), ("ssl", Entry::Real)],
        stores: Vec::new(),
        resolv_conf: b"nameserver 127.0.0.1\n".to_vec(),
        hosts: Vec::new(),
        landlock_abi: 7,
        watches: Some((128, 8193)),
        private_proc: vec!["/proc/keys"],
        writable_proc: Vec::new(),
        desktop: None,
        toolchains: Vec::new(),
        named_files: Vec::new(),
        image: None,
        session_dir: None,
        cgroups: None,
        subordinate: SubordinateIds { uids: vec![(100_000, 65_536)], gids: vec![(100_000, 65_536)] },
        fuse_overlayfs: None,
    }
}

/// A machine on which little is as it should be.
pub(super) fn bare_host() -> Host {
    let cwd = WorkingDirectory::Deleted;
    let (home, runtime_dir, data_home) = (None, None, None);
    Host {
        uid: 0,
        gid: 0,
        real_homes: Vec::new(),
        environment: Vec::new(),
        cwd,
        home,
        runtime_dir,
        data_home,
        ..host()
    }
}

//! The builds, each with a script in it that makes every attempt.

use crate::common::{Case, Need, Snapshot, User, Verdict, case, hello_source, output, output_within};
use crate::trap::Trap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The longest one, hello's, takes 12 s on a slow processor.
const LIMIT: Duration = Duration::from_secs(300);

const CRATE: [(&str, &str); 3] = [
    ("crate/Cargo.toml", include_str!("fixtures/crate/Cargo.toml")),
    ("crate/build.rs", include_str!("fixtures/crate/build.rs")),
    ("crate/src/main.rs", include_str!("fixtures/crate/src/main.rs")),
];

const SITE: [(&str, &str); 3] = [
    ("site/package.json", include_str!("fixtures/site/package.json")),
    ("package/package.json", include_str!("fixtures/dependency/package.json")),
    ("package/index.js", include_str!("fixtures/dependency/index.js")),
];

const SDIST: [(&str, &str); 2] = [
    ("fixture-1.0.0/setup.py", include_str!("fixtures/sdist/setup.py")),
    ("fixture-1.0.0/fixture.py", include_str!("fixtures/sdist/fixture.py")),
];

pub(crate) fn cases() -> Vec<Case> {
    let programs = |case: Case, names: &[&'static str]| {
        names.iter().fold(case, |case, name| case.needs(Need::Program(name)))
    };
    let all = |case| programs(case, &["git", "python3"]);
    vec![
        programs(all(case!(hello)), &["gcc", "make"]).needs(Need::HelloSource),
        programs(all(case!(cargo_crate)), &["cargo", "gcc"]),
        programs(all(case!(npm_package)), &["npm"]),
        programs(all(case!(python_sdist)), &["pip3"]),
    ]
}

/// Somebody else's package.
#[derive(Clone, Copy, Debug)]
struct Build {
    /// Puts the sources into the project, the script's path in them.
    unpack: fn(&User, &str) -> Verdict,
    /// Builds or installs it, without a network.
    command: &'static str,
    /// Who calls the script, one word each.
    callers: &'static [&'static str],
    /// Uses what was built, and prints what [`Build::prints`] says.
    use_it: &'static str,
    prints: &'static str,
    /// The files and directories that were built, which are the same inside and outside.
    products: &'static [&'static str],
}

fn hello(user: &User) -> Verdict {
    try_both(
        user,
        &Build {
            unpack: hello_with_a_line_more,
            command: "cd hello && ./configure --disable-nls --disable-dependency-tracking && make",
            callers: &["configure"],
            use_it: "hello/hello",
            prints: "Hello, world!\n",
            products: &["hello/hello", "hello/config.h", "hello/lib"],
        },
    )
}

fn cargo_crate(user: &User) -> Verdict {
    try_both(
        user,
        &Build {
            unpack: |user, script| write_all(user, &CRATE, script),
            command: "cd crate && cargo build --offline",
            callers: &["build.rs"],
            use_it: "crate/target/debug/fixture",
            prints: "built\n",
            products: &["crate/target/debug/fixture", "crate/Cargo.lock"],
        },
    )
}

fn npm_package(user: &User) -> Verdict {
    try_both(
        user,
        &Build {
            unpack: |user, script| {
                write_all(user, &SITE, script)?;
                pack(user, "package", "site/fixture.tar.gz")
            },
            command: "cd site && npm install --offline --no-audit --no-fund --no-update-notifier",
            callers: &["preinstall", "install", "postinstall"],
            use_it: "cd site && node -e 'console.log(require(\"fixture\"))'",
            prints: "built\n",
            products: &["site"],
        },
    )
}

fn python_sdist(user: &User) -> Verdict {
    try_both(
        user,
        &Build {
            unpack: |user, script| {
                write_all(user, &SDIST, script)?;
                pack(user, "fixture-1.0.0", "fixture-1.0.0.tar.gz")
            },
            command: "python3 -m pip install --no-index --no-build-isolation --no-deps --no-compile \
                  --disable-pip-version-check --target installed ./fixture-1.0.0.tar.gz",
            callers: &["setup.py"],
            use_it: "PYTHONPATH=installed python3 -B -c 'import fixture; print(fixture.GREETING)'",
            prints: "built\n",
            products: &["installed"],
        },
    )
}

/// Outside, where all that the script tries gets through, which shows that it tries; then inside, at the same path.
fn try_both(user: &User, build: &Build) -> Verdict {
    for inside in [false, true] {
        let trap = Trap::set(user)?;
        (build.unpack)(user, &trap.script().to_string_lossy())?;
        let mut command = if inside { trap.inside(user) } else { trap.outside(user) };
        let built = output_within(LIMIT, command.args(["sh", "-c", build.command]))?;
        built.exits(0)?;
        let found = trap.found(user, &built)?;
        build.callers.iter().try_for_each(|caller| found.says(&format!("{caller}: process: ")))?;
        if inside {
            found.nothing()?
        } else {
            found.everything()?
        }
        output(user.command("sh").args(["-c", build.use_it]))?.exits(0)?.stdout_is(build.prints)?;
        drop(trap);
        if !inside {
            fs::rename(user.home(), user.dir().join("outside"))?;
            user.mkdir("home/project")?;
        }
    }
    let same =
        |product| same(&user.dir().join("outside/project").join(product), &user.project().join(product));
    build.products.iter().try_for_each(same)
}

/// The same bytes, or the same tree.
fn same(outside: &Path, inside: &Path) -> Verdict {
    if outside.is_dir() {
        return Snapshot::of(outside)?.same_as(&Snapshot::of(inside)?);
    }
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    if read(outside)? == read(inside)? {
        Ok(())
    } else {
        Err(format!("not built as outside: {}", inside.display()).into())
    }
}

fn hello_with_a_line_more(user: &User, script: &str) -> Verdict {
    let source = hello_source().ok_or("no sources of hello")?;
    let configure = user.copy(source, "home/project/hello")?.join("configure");
    let text = fs::read_to_string(&configure)?;
    let (first, rest) = text.split_once('\n').ok_or("an empty configure script")?;
    // The same file, so that it stays executable.
    fs::write(configure, format!("{first}\npython3 '{script}' configure || exit\n{rest}"))?;
    Ok(())
}

fn write_all(user: &User, files: &[(&str, &str)], script: &str) -> Verdict {
    for (name, text) in files {
        user.put(Path::new("home/project").join(name), text.replace("@ATTEMPTS@", script))?;
    }
    Ok(())
}

/// Makes an archive of a directory of the project, the same bytes each time, and removes the directory.
fn pack(user: &User, dir: &str, archive: &str) -> Verdict {
    let mut tar = user.command("tar");
    tar.args(["--sort=name", "--mtime=@1000000000", "--remove-files", "-czf", archive, dir]);
    output(&mut tar)?.exits(0)?;
    Ok(())
}

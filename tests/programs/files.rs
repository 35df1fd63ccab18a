//! Files named on the command line (`filesystem.arguments`): the program has them, by the same words or by changed ones, and
//! has nothing that lies beside them.

use crate::common::{Case, Output, Snapshot, User, Verdict, case, output};
use crate::job::with;
use libtest_mimic::Failed;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Prints each word, and what is in the file that it names.
const READ: &str = r#"for word; do
  case $word in
    file://*) path=${word#file://} path=$(printf '%b' "${path//%/\\x}") ;;
    -*=*) path=${word#*=} ;;
    *) path=$word ;;
  esac
  printf '%s: ' "$word"
  cat -- "$path" 2>/dev/null || echo missing
done"#;

const RO: &[&str] = &["--profile", "viewer"];
const RW: &[&str] = &["--profile", "viewer", "--set", "filesystem.arguments=rw"];
const KEPT: &[&str] = &["--profile", "viewer", "--set", "home.mode=private"];

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(a_file_is_named_in_every_way),
        case!(a_file_of_any_name),
        case!(a_file_beside_it_is_not_there),
        case!(a_file_in_the_working_directory_stays_as_it_is),
        case!(a_file_in_a_kept_home_lies_elsewhere),
        case!(a_file_can_be_read_and_no_more),
        case!(a_file_can_be_written),
        case!(what_is_no_file_is_left_alone),
        case!(what_the_kernel_makes_is_left_alone),
        case!(settings_of_sbx_are_refused),
        case!(explain_shows_the_words),
    ];
    cases.into_iter().map(|case| with(case, &["bash"])).collect()
}

/// A script with these words inside.
fn run<W: AsRef<OsStr>>(user: &User, options: &[&str], script: &str, words: &[W]) -> Result<Output, Failed> {
    output(user.sbx().args(options).args(["bash", "-c", script, "bash"]).args(words))
}

/// A file's path as text.
fn text(path: &Path) -> String {
    path.display().to_string()
}

fn a_file_is_named_in_every_way(user: &User) -> Verdict {
    let plain = text(&user.put("home/project/plain", "a\n")?);
    let spaced = text(&user.put("home/docs/with space.txt", "b\n")?);
    let other = text(&user.put("other/far away/file", "c\n")?);
    symlink(&other, user.project().join("link"))?;
    symlink(user.home().join("docs"), user.home().join("by-link"))?;
    let url = |path: &str| format!("file://{}", path.replace(' ', "%20"));
    let behind = text(&user.home().join("by-link/with space.txt"));
    let link = text(&user.project().join("link"));
    // What is typed, what the program gets and what it reads.
    let words = [
        ("plain".to_owned(), plain.clone(), "a"),
        ("./plain".to_owned(), plain.clone(), "a"),
        ("../docs/with space.txt".to_owned(), spaced.clone(), "b"),
        (plain.clone(), plain.clone(), "a"),
        ("--file=plain".to_owned(), format!("--file={plain}"), "a"),
        (format!("--file={other}"), format!("--file={other}"), "c"),
        (url(&spaced), url(&spaced), "b"),
        (
            url(&other).replace("file://", "file://localhost"),
            url(&other).replace("file://", "file://localhost"),
            "c",
        ),
        ("link".to_owned(), link, "c"),
        (behind.clone(), behind, "b"),
    ];
    for (typed, got, read) in &words {
        // Such a word is not changed, as the file is where it was; the script does not know the host in it.
        let script = READ.replace("path=${word#file://}", "path=${word#file://} path=${path#localhost}");
        let inside = run(user, RO, &script, &[typed])?;
        inside.exits(0)?.stdout_is(&format!("{got}: {read}\n"))?.stderr_is("")?;
    }
    let all: Vec<&String> =
        words.iter().filter(|word| !word.0.contains("localhost")).map(|word| &word.0).collect();
    let inside = run(user, RO, READ, &all)?;
    inside.exits(0)?.stdout_lacks("missing")?;
    inside.check(inside.text().lines().count() == all.len(), || "every word should be there".to_owned())?;
    Ok(())
}

fn a_file_of_any_name(user: &User) -> Verdict {
    for name in
        [&b"caf\xe9 \xff"[..], "Übung, 1%20.txt".as_bytes(), b"-dash", b"new\nline", b"a#b?c", b"$HOME"]
    {
        let path = user.put(Path::new("home/project").join(OsStr::from_bytes(name)), name)?;
        let mut url = b"file://".to_vec();
        for byte in path.as_os_str().as_bytes() {
            url.extend(match byte {
                byte if byte.is_ascii_alphanumeric() || b"/-_.".contains(byte) => vec![*byte],
                byte => format!("%{byte:02X}").into_bytes(),
            });
        }
        let mut dotted = OsString::from("./");
        dotted.push(OsStr::from_bytes(name));
        for (word, got) in [
            (path.as_os_str(), path.as_os_str()),
            (&dotted, path.as_os_str()),
            (OsStr::from_bytes(&url), OsStr::from_bytes(&url)),
        ] {
            let inside = run(user, RO, READ, &[word])?;
            let wanted = [got.as_bytes(), b": ", name].concat();
            inside.exits(0)?.check(inside.stdout == wanted, || format!("stdout should be {wanted:?}"))?;
        }
    }
    Ok(())
}

fn a_file_beside_it_is_not_there(user: &User) -> Verdict {
    for name in [
        "home/docs/one",
        "home/docs/two",
        "home/secret",
        "home/project/local",
        "outside/three",
        "outside/four",
    ] {
        user.put(name, "text\n")?;
    }
    symlink(user.dir().join("outside/three"), user.home().join("docs/link"))?;
    let words = ["../docs/one", "../docs/link", &text(&user.dir().join("outside/four"))];
    let script = "cd \"$HOME/..\" && find . -mindepth 1 | LC_ALL=C sort";
    let inside = run(user, RO, script, &words)?;
    inside
        .exits(0)?
        .stdout_is("./home\n./home/docs\n./home/docs/link\n./home/docs/one\n./outside\n./outside/four\n")?;
    Ok(())
}

/// Where the sandbox has the directory, the word is what it was, and the file as the directory is.
fn a_file_in_the_working_directory_stays_as_it_is(user: &User) -> Verdict {
    let path = user.put("home/project/plain", "a\n")?;
    let options = ["--profile", "default", "--set", "filesystem.arguments=ro"];
    run(user, &options, READ, &["plain", "--x=./plain"])?
        .exits(0)?
        .stdout_is("plain: a\n--x=./plain: a\n")?;
    run(user, &options, "echo b >>\"$1\"", &["plain"])?.exits(0)?.stderr_is("")?;
    if fs::read_to_string(path)? != "a\nb\n" {
        return Err("the working directory can be written".into());
    }
    Ok(())
}

fn a_file_in_a_kept_home_lies_elsewhere(user: &User) -> Verdict {
    user.put("home/docs/with space.txt", "b\n")?;
    let outside = text(&user.put("outside/file", "c\n")?);
    let url = format!("file://{}/docs/with%20space.txt", user.home().display());
    let words = ["../docs/with space.txt", &url, "--x=../docs/with space.txt", &outside];
    let inside = run(user, KEPT, READ, &words)?;
    let place = format!("/run/user/{}/arguments", user.uid());
    let first = |inside: &Output| -> Option<usize> {
        let at = inside.text().find(&format!("{place}/"))? + place.len() + 1;
        inside.text()[at..].split('/').next()?.parse().ok()
    };
    let number = first(&inside).ok_or_else(|| inside.failure("no file was placed elsewhere"))?;
    inside.exits(0)?.stdout_is(&format!(
        "{place}/{number}/with space.txt: b\nfile://{place}/{}/with%20space.txt: b\n\
         --x={place}/{}/with space.txt: b\n{outside}: c\n",
        number + 1,
        number + 2,
    ))?;
    // Nothing of it is left in the home that is kept, not even a name.
    let home = user.home().join(".local/share/sbx/home/viewer");
    let kept = Snapshot::of(&home)?;
    let named = kept.paths().iter().any(|path| path.to_string_lossy().contains("docs"));
    inside.check(!named, || format!("the home kept {:?}", kept.paths()))?;
    // And written it is the file itself.
    let script = "echo more >>\"$1\"";
    let rw = [KEPT, &["--set", "filesystem.arguments=rw"]].concat();
    run(user, &rw, script, &["../docs/with space.txt"])?.exits(0)?.stderr_is("")?;
    let now = fs::read_to_string(user.home().join("docs/with space.txt"))?;
    if now == "b\nmore\n" { Ok(()) } else { Err(format!("the file is {now:?}").into()) }
}

/// Neither it nor its name changes.
fn a_file_can_be_read_and_no_more(user: &User) -> Verdict {
    user.put("home/project/plain", "a\n")?;
    let before = Snapshot::with_times(user.project())?;
    let script = "echo b >>\"$1\"; : >\"$1\"; chmod 777 \"$1\"; mv \"$1\" \"$1.away\"; rm -f \"$1\"; \
                  echo new >\"$1.new\"; mv -f \"$1.new\" \"$1\"; touch \"$1\"; truncate -s 0 \"$1\"; cat \"$1\"";
    run(user, RO, script, &["plain"])?.exits(0)?.stdout_is("a\n")?;
    before.same_as(&Snapshot::with_times(user.project())?)
}

/// It is written where it is; what lies beside it, and its name, cannot be.
fn a_file_can_be_written(user: &User) -> Verdict {
    let path = user.put("home/project/plain", "a\n")?;
    let linked = user.put("outside/target", "c\n")?;
    symlink(&linked, user.project().join("link"))?;
    user.put("home/project/beside", "beside\n")?;
    let inode = fs::metadata(&path)?.ino();
    let script = "echo b >>\"$1\" && echo d >\"$2\" && ! rm -f \"$1\" && ! mv \"$1\" away && echo x >beside && echo x >$(dirname $1)/beside";
    run(user, RW, script, &["plain", "link"])?.exits(0)?;
    let names: Vec<_> = fs::read_dir(user.project())?.flatten().map(|entry| entry.file_name()).collect();
    let now =
        (fs::read_to_string(&path)?, fs::read_to_string(&linked)?, fs::metadata(&path)?.ino(), names.len());
    if now != ("a\nb\n".to_owned(), "d\n".to_owned(), inode, 3) {
        return Err(format!("outside it is {now:?}, not {inode}").into());
    }
    let beside = fs::read_to_string(user.project().join("beside"))?;
    if beside == "beside\n" { Ok(()) } else { Err("the file beside it changed".into()) }
}

fn what_is_no_file_is_left_alone(user: &User) -> Verdict {
    user.put("home/project/directory/inner", "a\n")?;
    user.put("home/project/plain", "a\n")?;
    symlink("nowhere", user.project().join("dangling"))?;
    symlink("directory", user.project().join("to-directory"))?;
    let _socket = UnixListener::bind(user.project().join("socket"))?;
    let made = output(user.command("mkfifo").arg("fifo"))?;
    made.exits(0)?;
    let words = [
        "directory",
        "to-directory",
        "dangling",
        "socket",
        "fifo",
        "missing",
        "/dev/null",
        "-f",
        "-fplain",
        "plain/",
        "https://example.org/plain",
        "file:plain",
        "file://elsewhere/plain",
        "",
        "=",
        "--x=",
        ".",
    ];
    let script = "printf '<%s>' \"$@\"; ls -A \"$HOME\"";
    let wanted: String = words.iter().map(|word| format!("<{word}>")).collect();
    run(user, RW, script, &words)?.exits(0)?.stdout_is(&wanted)?;
    Ok(())
}

/// A program asks for its own files there, not for sbx's.
fn what_the_kernel_makes_is_left_alone(user: &User) -> Verdict {
    symlink("/proc/self/environ", user.project().join("link"))?;
    for word in ["/proc/self/environ", "/proc/self/../self/environ", "--x=/proc/thread-self/environ", "link"]
    {
        let mut sbx = user.sbx();
        sbx.env("AWS_SECRET_ACCESS_KEY", "canary").args(RO);
        let inside = output(sbx.args(["bash", "-c", "cat \"${1#--x=}\" | tr '\\0' '\\n'", "bash", word]))?;
        inside.stdout_lacks("canary")?;
        // A link in a directory that is not there.
        if word != "link" {
            inside.stdout_has("container=sbx\n")?;
        }
    }
    let given = user.put("home/project/given", "by the shell\n")?;
    for word in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
        let script = "echo \"$1\"; cat \"$1\"";
        let mut sbx = user.sbx();
        sbx.args(RW).args(["bash", "-c", script, "bash", word]).stdin(fs::File::open(&given)?);
        output(&mut sbx)?.stdout_is(&format!("{word}\nby the shell\n"))?;
    }
    Ok(())
}

/// Whoever can write them decides what the next sandbox may do.
fn settings_of_sbx_are_refused(user: &User) -> Verdict {
    let profile = user.put("home/.config/sbx/profiles/mine.toml", "schema = 1\n")?;
    let kept = user.put("home/.local/share/sbx/home/agent/file", "state\n")?;
    symlink(&profile, user.project().join("link"))?;
    for word in [text(&profile), text(&kept), "link".to_owned(), format!("file://{}", profile.display())] {
        let refused = run(user, RW, "echo no >>\"${1#file://}\"", &[&word])?;
        refused.exits(125)?.stdout_is("")?.stderr_has("sbx: error: ")?;
        run(user, RO, READ, &[&word])?.exits(0)?.stdout_lacks("missing")?;
    }
    if fs::read_to_string(profile)? == "schema = 1\n" { Ok(()) } else { Err("a profile was changed".into()) }
}

fn explain_shows_the_words(user: &User) -> Verdict {
    let plain = text(&user.put("home/project/plain", "a\n")?);
    let explain = |more: &[&str]| {
        let mut sbx = user.sbx();
        output(sbx.arg("explain").args(RO).args(more).args(["cat", "plain", "--x=plain", "-n"]))
    };
    explain(&[])?
        .exits(0)?
        .stdout_has(&format!("cat {plain} --x={plain} -n"))?
        .stdout_has(&format!(" {plain}"))?;
    let json = explain(&["--format", "json"])?;
    let plan: serde_json::Value = serde_json::from_slice(&json.exits(0)?.stdout)?;
    let words = serde_json::json!(["cat", plain, format!("--x={plain}"), "-n"]);
    json.check(plan["command"] == words, || format!("the command is {}", plan["command"]))?;
    Ok(())
}

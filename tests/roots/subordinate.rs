//! Subordinate ids and capabilities: who the program is, what that gives it in its own root, and that it gives nothing else.

use crate::common::process::{Status, descendants};
use crate::common::{
    Account, Case, Need, Output, Running, Snapshot, User, Verdict, case, first_id, output, output_within,
    source_dir,
};
use crate::stage::{kept, root, script};
use libtest_mimic::Failed;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub(crate) fn cases() -> Vec<Case> {
    let mapped = |case: Case| case.only_as_user().needs(Need::SubordinateIds);
    let in_debian = |case: Case| mapped(case).needs(Need::Other(no_debian));
    vec![
        mapped(case!(ids_and_capabilities_are_as_planned)),
        mapped(case!(files_have_owners)),
        mapped(case!(owners_pass_away_with_the_layer)),
        mapped(case!(walls_stand_for_root_inside)),
        mapped(case!(set_id_modes_give_nothing)),
        mapped(case!(another_user_is_not_root)),
        mapped(case!(no_file_of_the_hosts_is_given_away)),
        mapped(case!(signals_reach_other_users)),
        mapped(case!(others_may_not_map)),
        in_debian(case!(apt_get_installs_a_package)),
        in_debian(case!(accounts_can_be_made)),
        case!(capabilities_of_a_single_id),
        case!(accounts_of_the_sandboxs_own),
    ]
}

fn archive() -> PathBuf {
    source_dir().join("target/debian-root/root.tar")
}

fn no_debian(_: &Account) -> Option<String> {
    (!archive().exists()).then(|| "no root filesystem of Debian: run .ci/debian-root".to_owned())
}

const DISTRO: [&str; 2] = ["--profile", "distro"];
const MINE: [&str; 2] = ["--set", "filesystem.writable=layer:mine"];

fn as_root(user: &User, root: &Path, options: &[&str], text: &str) -> Result<Output, Failed> {
    script(user, root, &[&DISTRO[..], options].concat(), text)
}

fn ids_and_capabilities_are_as_planned(user: &User) -> Verdict {
    let (uids, gids) = (first_id("/etc/subuid", user.uid()), first_id("/etc/subgid", user.uid()));
    let text = "cat /proc/self/uid_map /proc/self/gid_map; id -u; id -G; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status";
    let out = output(user.sbx().args(DISTRO).args(["sh", "-c", text]))?;
    out.exits(0)?.stderr_is("")?;
    let said: Vec<Vec<String>> =
        out.text().lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
    let number =
        |line: usize, word: usize| said.get(line).and_then(|words| words.get(word)?.parse::<u32>().ok());
    out.check(number(0, 1) == Some(user.uid()) && number(1, 0) == Some(1) && number(1, 1) == uids, || {
        "uid 0 is the caller, and the others follow".to_owned()
    })?;
    out.check(number(2, 1) == Some(user.gid()) && number(3, 0) == Some(1) && number(3, 1) == gids, || {
        "gid 0 is the caller's, and the others follow".to_owned()
    })?;
    out.stdout_has("\n0\n0\nCapInh:\t0000000000000000\n")?;
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        out.stdout_has(&format!("{set}:\t00000000a00405fb\n"))?;
    }
    out.stdout_has("CapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n")?;
    Ok(())
}

/// The verdict is the host's: whose the file in the upper dir is.
fn files_have_owners(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let before = Snapshot::with_times(&root)?;
    let text = "mkdir -m 700 /srv /srv/closed; echo text >/srv/closed/file; chown -R 33:34 /srv/closed; chown 7 /etc/whose";
    as_root(user, &root, &MINE, text)?.exits(0)?.stderr_is("")?;
    let upper = kept(user, "mine").join("upper");
    let (uid, gid) = (first_id("/etc/subuid", user.uid()), first_id("/etc/subgid", user.uid()));
    let owner = |path: &str| fs::symlink_metadata(upper.join(path)).map(|found| (found.uid(), found.gid()));
    let expected = (uid.unwrap_or(0) + 32, gid.unwrap_or(0) + 33);
    if owner("srv/closed")? != expected || owner("etc/whose")? != (uid.unwrap_or(0) + 6, user.gid()) {
        return Err(format!("owners outside: {:?}, {:?}", owner("srv/closed"), owner("etc/whose")).into());
    }
    as_root(user, &root, &MINE, "cat /srv/closed/file; stat -c %u:%g /srv/closed/file /etc/whose")?
        .stdout_is("text\n33:34\n7:0\n")?;
    before.same_as(&Snapshot::with_times(&root)?)?;
    clear(user, &kept(user, "mine"))
}

/// Takes away what the user alone can't.
fn clear(user: &User, path: &Path) -> Verdict {
    let mut rm = user.command("unshare");
    output(rm.args(["--map-root-user", "--map-auto", "rm", "-rf", "--"]).arg(path))?.exits(0)?;
    Ok(())
}

/// Where the kernel's tmpfs can't hold the layer it is on disk meanwhile, and then gone with whatever owners it has.
fn owners_pass_away_with_the_layer(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let text = "mkdir /srv /srv/closed; >/srv/closed/file; chown -R 33 /srv/closed; chmod 500 /srv/closed; rm -r /var/lib";
    as_root(user, &root, &[], text)?.exits(0)?;
    let layers = kept(user, "");
    let left: Vec<_> =
        fs::read_dir(&layers).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    if left.is_empty() { Ok(()) } else { Err(format!("left in {}: {left:?}", layers.display()).into()) }
}

/// Each of these gets somewhere without any wall; each wall alone holds it.
fn walls_stand_for_root_inside(user: &User) -> Verdict {
    let root = root(user, "root")?;
    for attempt in [
        "mount -t tmpfs none /mnt",
        "hostname other",
        "unshare --mount true",
        "unshare --user true",
        "chroot / mount --bind /tmp /mnt",
        "cat /proc/1/environ",
    ] {
        let text = format!("mkdir -p /mnt; {attempt} >/dev/null && echo through");
        as_root(user, &root, &[], &text)?.stdout_is("")?;
        for (edit, expected) in [("unwalled", "through\n"), ("capable", ""), ("unfiltered", "")] {
            let mut edited = user.edited(edit);
            edited.arg("--quiet").args(DISTRO);
            output(crate::stage::given(&mut edited, &root).args(["sh", "-c", &text]))?.stdout_is(expected)?;
        }
    }
    // Nor does another owner's right to a file reach what is read-only, or the host's.
    let mine = user.put("home/mine", "mine\n")?;
    let path = mine.to_str().ok_or("a path that is no text")?;
    let text = format!("echo x >{path}; chmod 777 {path}; chown 5 {path}; rm {path}; cat {path}");
    as_root(user, &root, &["--ro", path], &text)?.stdout_is("mine\n")?;
    if fs::read_to_string(&mine)? != "mine\n" || fs::metadata(&mine)?.uid() != user.uid() {
        return Err("the host's file should be as it was".into());
    }
    Ok(())
}

/// A mode that would make another user's ids one's own: it can be given, and gives nothing. Nowhere can it be left for others.
fn set_id_modes_give_nothing(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let text = "cp /usr/bin/id /var/id; chown 33 /var/id; chmod 4755 /var/id; stat -c %a:%u /var/id; \
                setpriv --reuid=7 --regid=7 --clear-groups /var/id -u";
    as_root(user, &root, &MINE, text)?.exits(0)?.stdout_is("4755:33\n7\n")?;
    let layer = fs::metadata(kept(user, "mine"))?;
    if layer.mode() & 0o77 != 0 {
        return Err("nobody else may reach the layer".into());
    }
    let project = user.project();
    let project = project.to_str().ok_or("a path that is no text")?;
    for options in
        [&["--rw", project][..], &["--cwd", "rw"], &["--set", "filesystem.writable=/var/tmp/sbx-nowhere"]]
    {
        as_root(user, &root, options, "echo ran")?
            .exits(125)?
            .stdout_is("")?
            .stderr_has("cannot keep CAP_FSETID and let the sandbox write in")?;
    }
    Ok(())
}

/// A program that has become another user hears of a signal through PID 1, which keeps what is needed for that.
fn signals_reach_other_users(user: &User) -> Verdict {
    let text =
        "exec setpriv --reuid=7 --regid=7 --clear-groups sh -c 'trap \"exit 3\" TERM; sleep 60 & wait'";
    let mut sbx = user.sbx();
    let mut running = Running::start(sbx.args(DISTRO).args(["sh", "-c", text]))?;
    let other = u64::from(first_id("/etc/subuid", user.uid()).unwrap_or(0) + 6);
    let pid = running.pid();
    let waits = |pid| {
        let status = Status::of(pid);
        status.is_ok_and(|status| {
            status.number("Uid").ok() == Some(other) && status.field("Name").ok() == Some("sleep")
        })
    };
    running.wait_for(Duration::from_secs(20), "the program has become another user", || {
        descendants(pid).into_iter().find(|pid| waits(*pid))
    })?;
    running.signal(nix::sys::signal::Signal::SIGTERM)?;
    running.finish()?.exits(3)?;
    Ok(())
}

/// In a user namespace of its own the system's programs have no power: nothing runs, and one cause is told.
fn others_may_not_map(user: &User) -> Verdict {
    let mut unshare = user.command("unshare");
    unshare
        .args(["--user", "--map-current-user"])
        .arg(user.sbx_path())
        .args(DISTRO)
        .args(["sh", "-c", "echo ran"]);
    let out = output(&mut unshare)?;
    out.exits(125)?.stdout_is("")?.stderr_has("sbx: error: cannot map subordinate ids: ")?;
    Ok(())
}

/// The root filesystem, unpacked with all its owners.
fn debian(user: &User) -> Result<PathBuf, Failed> {
    let root = user.mkdir("debian")?;
    let mut tar = user.command("unshare");
    tar.args(["--map-root-user", "--map-auto", "tar", "--exclude=./dev/*", "-xf"])
        .arg(archive())
        .arg("-C")
        .arg(&root);
    output_within(Duration::from_secs(240), &mut tar)?.exits(0)?;
    Ok(root)
}

fn in_debian(user: &User, root: &Path, text: &str) -> Result<Output, Failed> {
    let mut sbx = user.sbx();
    sbx.arg("--quiet").args(DISTRO).args(MINE).arg("--root").arg(root).args(["sh", "-c", text]);
    output_within(Duration::from_secs(240), &mut sbx)
}

/// All of a tree, by a process that may read all of it.
fn fingerprint(user: &User, root: &Path) -> Result<String, Failed> {
    let text = "cd \"$0\" && { find . -printf '%p %y %m %U:%G %s %T@ %l\\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum; } | sha256sum";
    let mut unshare = user.command("unshare");
    unshare.args(["--map-root-user", "--map-auto", "sh", "-c", text]).arg(root);
    let out = output_within(Duration::from_secs(120), &mut unshare)?;
    out.exits(0)?;
    Ok(out.text())
}

fn apt_get_installs_a_package(user: &User) -> Verdict {
    let root = debian(user)?;
    let before = fingerprint(user, &root)?;
    let text = "apt-get update -qq && apt-get install -y -qq hello >/dev/null && hello && dpkg -s hello | grep ^Status";
    let out = in_debian(user, &root, text)?;
    out.exits(0)?.stdout_is("Hello, world!\nStatus: install ok installed\n")?;
    in_debian(user, &root, "hello; dpkg --audit")?.exits(0)?.stdout_is("Hello, world!\n")?;
    in_debian(user, &root, "dpkg --purge hello >/dev/null; hello")?.exits(127)?;
    if fingerprint(user, &root)? != before {
        return Err("the lower dir should be as it was".into());
    }
    clear(user, &kept(user, "mine"))?;
    clear(user, &root)
}

fn accounts_can_be_made(user: &User) -> Verdict {
    let root = debian(user)?;
    let text = "groupadd staffers && useradd -m -G staffers bob && id bob && stat -c %U:%G /home/bob && su bob -c 'id -un; cd; >file' \
                && stat -c %U /home/bob/file && setpriv --reuid=bob --regid=bob --init-groups id -Gn && userdel -r bob && ! id bob 2>&1";
    in_debian(user, &root, text)?.exits(0)?.stdout_is(
        "uid=1000(bob) gid=1001(bob) groups=1001(bob),1000(staffers)\nbob:bob\nbob\nbob\nbob staffers\nid: \u{2018}bob\u{2019}: no such user\n",
    )?;
    clear(user, &kept(user, "mine"))?;
    clear(user, &root)
}

/// Root's file is read by root; not by another user, whether or not the capabilities are taken as well.
fn another_user_is_not_root(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let file = user.put(root.join("etc/closed"), "closed\n")?;
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let text = "id -u; id -G; cat /etc/closed; chown 5 /etc/closed; grep Eff /proc/self/status";
    as_root(user, &root, &[], text)?.stdout_is("0\n0\nclosed\nCapEff:\t00000000a00405fb\n")?;
    for edit in ["another user", "another user, capable"] {
        let mut edited = user.edited(edit);
        edited.args(["--quiet", "--set", "privileges.uid=subordinate", "--cwd", "none", "--chdir", "/"]);
        let out = output(crate::stage::given(&mut edited, &root).args(["sh", "-c", text]))?;
        out.stdout_is("33\n34 5 7\nCapEff:\t0000000000000000\n")?;
    }
    // One that it can't become: nothing runs.
    let mut edited = user.edited("no such user");
    edited.args(["--quiet", "--set", "privileges.uid=subordinate", "--cwd", "none", "--chdir", "/"]);
    let out = output(crate::stage::given(&mut edited, &root).args(["sh", "-c", text]))?;
    out.exits(125)?.stdout_is("")?.stderr_has("cannot become the payload's user")?;
    Ok(())
}

/// What a plan gives to another user must be of the sandbox's making.
fn no_file_of_the_hosts_is_given_away(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let mine = user.put("home/mine", "mine\n")?;
    let mut edited = user.edited("the host's given away");
    edited.args(["--quiet", "--set", "privileges.uid=subordinate", "--cwd", "none", "--rw"]).arg(&mine);
    let out = output(crate::stage::given(&mut edited, &root).args(["sh", "-c", "echo ran"]))?;
    out.exits(125)?.stdout_is("")?.stderr_has("cannot make ")?;
    // What is made for the sandbox is given away by the same.
    let mut edited = user.edited("the host's given away");
    edited.args(["--quiet", "--set", "privileges.uid=subordinate", "--cwd", "none", "--tmpfs", "/mine"]);
    let out = output(crate::stage::given(&mut edited, &root).args(["stat", "-c", "%u:%g", "/mine"]))?;
    out.exits(0)?.stdout_is("33:34\n")?;
    if fs::metadata(&mine)?.uid() == user.uid() {
        return Ok(());
    }
    Err("the host's file is somebody else's".into())
}

/// Capabilities go with the caller's own id as 0, too; none of them makes another id.
fn capabilities_of_a_single_id(user: &User) -> Verdict {
    let mut sbx: Command = user.sbx();
    sbx.args([
        "--cwd",
        "none",
        "--set",
        "privileges.uid=root",
        "--set",
        "privileges.capabilities=['CAP_CHOWN', 'kill']",
    ]);
    let text =
        "grep -E '^Cap(Prm|Eff|Bnd|Amb)' /proc/self/status; >/tmp/x; chown 5 /tmp/x 2>/dev/null || echo no";
    output(sbx.args(["sh", "-c", text]))?.exits(0)?.stdout_is(
        "CapPrm:\t0000000000000021\nCapEff:\t0000000000000021\nCapBnd:\t0000000000000021\nCapAmb:\t0000000000000000\nno\n",
    )?;
    Ok(())
}

fn accounts_of_the_sandboxs_own(user: &User) -> Verdict {
    let root = root(user, "root")?;
    user.put(root.join("etc/passwd"), "somebody:x:5:5::/:/bin/sh\n")?;
    let before = Snapshot::with_times(&root)?;
    let text = "cat /etc/passwd | cut -d: -f3 | head -n 1; ls /etc";
    script(user, &root, &[], text)?.stdout_is("5\nhostname\nhosts\npasswd\nresolv.conf\nwhose\n")?;
    let own = ["--set", "filesystem.accounts=true"];
    script(user, &root, &own, text)?
        .stdout_is(&format!("{}\ngroup\nhostname\nhosts\npasswd\nresolv.conf\nwhose\n", user.uid()))?;
    before.same_as(&Snapshot::with_times(&root)?)
}

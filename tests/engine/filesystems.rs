//! New filesystems: tmpfs, private directories, copies, proc, devpts, mqueue, and a root that is a bind.

use crate::common::edited::Edit;
use crate::common::{Case, User, Verdict, case, output, process};
use crate::probe::{add, bind, edited_sh, sh, user_dir};
use sbx::plan::{Access, MountOp, Plan};
use std::fs;
use std::path::PathBuf;

pub(crate) const EDITS: &[Edit] = &[
    ("small-tmpfs", |plan| tmpfs(plan, 64 << 10, 20)),
    ("large-tmpfs", |plan| tmpfs(plan, 4 << 20, 200)),
    ("private", |plan| add(plan, "/e/private", MountOp::Private { mode: 0o751 })),
    ("small-root", |plan| plan.root.size = 1 << 20),
    ("writable-root", |plan| plan.root.read_only = false),
    ("copy", |plan| add(plan, "/e/copy", MountOp::Copy { source: user_dir().join("small"), mode: 0o640 })),
    ("second-proc", |plan| add(plan, "/e/proc", MountOp::Proc)),
    ("host-root", host_root),
    ("writable-host-root", writable_host_root),
    ("other-root", other_root),
];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(a_tmpfs_is_bounded),
        case!(private_directories_are_writable_and_the_root_is_not),
        case!(private_directories_share_the_roots_size),
        case!(a_copy_is_a_file_of_its_own),
        case!(a_copy_of_anything_else_is_refused),
        case!(proc_shows_the_sandbox_only),
        case!(a_pty_can_be_opened),
        case!(message_queues_are_its_own),
        case!(the_hosts_root_read_only),
        case!(a_root_bind_hides_the_old_root),
        case!(the_hosts_root_writable),
        case!(another_directory_as_root),
    ]
}

fn tmpfs(plan: &mut Plan, size: u64, inodes: u64) {
    let op = |access| MountOp::Tmpfs { size, inodes, mode: 0o751, access };
    add(plan, "/e/tmp", op(Access::Writable));
    add(plan, "/e/sealed", op(Access::ReadOnly));
}

fn a_tmpfs_is_bounded(user: &User) -> Verdict {
    let script = "stat -c %a /e/tmp
        head -c 100000 /dev/zero >/e/tmp/big; echo $?; rm -f /e/tmp/big
        i=0; while [ $i -lt 40 ]; do (: >/e/tmp/$i) || break; i=$((i+1)); done; echo $i
        (: >/e/sealed/x); echo after";
    let out = edited_sh(user, "small-tmpfs", script)?;
    let lines = out.text();
    let files: u32 = lines.lines().nth(2).and_then(|line| line.parse().ok()).unwrap_or(40);
    out.check(lines.starts_with("751\n1\n") && files < 20, || "small limits hold".to_owned())?;
    out.check(out.errors().matches("No space left").count() == 2, || "two ENOSPC".to_owned())?;
    out.stderr_has("Read-only file system")?;
    edited_sh(user, "large-tmpfs", script)?.stdout_has("751\n0\n40\n")?;
    Ok(())
}

fn private_directories_are_writable_and_the_root_is_not(user: &User) -> Verdict {
    let script = "stat -c %a /e/private; echo x >/e/private/f && cat /e/private/f
        for d in / /etc /dev /var /e; do (: >$d/new) 2>&1; done; rm -f /etc/passwd 2>&1; mv /etc /etd 2>&1";
    let out = edited_sh(user, "private", script)?;
    out.stdout_has("751\nx\n")?;
    out.check(out.text().matches("Read-only file system").count() == 7, || "seven refusals".to_owned())?;
    edited_sh(user, "writable-root", ": >/new && : >/etc/new && echo got through")?
        .stdout_is("got through\n")?;
    Ok(())
}

fn private_directories_share_the_roots_size(user: &User) -> Verdict {
    let script = "head -c 2000000 /dev/zero >/tmp/x; echo $?";
    edited_sh(user, "small-root", script)?.stdout_is("1\n")?.stderr_has("No space left")?;
    sh(user, &[], script)?.stdout_is("0\n")?;
    Ok(())
}

fn a_copy_is_a_file_of_its_own(user: &User) -> Verdict {
    let large = "x".repeat(3 << 20);
    for contents in ["", "small\n", &large] {
        let source = user.put("small", contents)?;
        let script = "stat -c '%a %s' /e/copy; cat /e/copy >&2; (echo y >/e/copy) 2>/dev/null || echo no";
        let out = edited_sh(user, "copy", script)?;
        out.exits(0)?.stdout_is(&format!("640 {}\nno\n", contents.len()))?;
        out.check(out.errors() == contents, || "the same contents".to_owned())?;
        out.check(fs::read_to_string(source)? == contents, || "the host changed".to_owned())?;
    }
    Ok(())
}

fn a_copy_of_anything_else_is_refused(user: &User) -> Verdict {
    let source = user.dir().join("small");
    let refused = || edited_sh(user, "copy", "echo ran")?.exits(125)?.stdout_is("").map(drop);
    refused()?;
    output(user.command("mkfifo").arg(&source))?.exits(0)?;
    refused()?;
    fs::remove_file(&source)?;
    std::os::unix::fs::symlink("/etc/hostname", &source)?;
    refused()?;
    fs::remove_file(&source)?;
    user.mkdir("small")?;
    refused()
}

fn proc_shows_the_sandbox_only(user: &User) -> Verdict {
    let out = edited_sh(user, "second-proc", "cd /proc; echo [0-9]*; cd /e/proc; echo [0-9]*")?;
    out.exits(0)?.stdout_is("1 2\n1 2\n")?;
    Ok(())
}

fn a_pty_can_be_opened(user: &User) -> Verdict {
    let out = sh(user, &[], "stat -c %t:%T -L /dev/ptmx; script -qec 'tty; echo /dev/pts/*' /dev/null")?;
    let text = out.text().replace('\r', "");
    out.exits(0)?
        .check(text == "5:2\n/dev/pts/0\n/dev/pts/0 /dev/pts/ptmx\n", || "a pty of its own".to_owned())?;
    Ok(())
}

fn message_queues_are_its_own(user: &User) -> Verdict {
    let name = format!("sbx-{}-{}", process::own_pid(), user.uid());
    let script = format!("ls /dev/mqueue; : >/dev/mqueue/{name} && ls /dev/mqueue");
    sh(user, &[], &script)?.exits(0)?.stdout_is(&format!("{name}\n"))?;
    let host = std::path::Path::new("/dev/mqueue").join(name);
    if host.exists() { Err("the queue is the host's".into()) } else { Ok(()) }
}

/// `bwrap --ro-bind / / --proc /proc --tmpfs /dev`.
fn host_root(plan: &mut Plan) {
    plan.mounts.clear();
    add(plan, "/", bind("/", Access::ReadOnly));
    add(plan, "/proc", MountOp::Proc);
    let tmpfs = MountOp::Tmpfs { size: 1 << 20, inodes: 100, mode: 0o755, access: Access::Writable };
    add(plan, "/dev", tmpfs);
    add(plan, "/dev/null", MountOp::Device { source: "/dev/null".into(), major: 1, minor: 3 });
}

fn the_hosts_root_read_only(user: &User) -> Verdict {
    let file = user.put("file", "host\n")?;
    let script = "cat $0; (echo x >$0) 2>&1; (: >/new) 2>&1; ls /dev; echo x >/dev/null && echo null
        cd /proc; echo [0-9]*; cat /proc/self/mountinfo >&2";
    let out = output(user.edited("host-root").args(["sh", "-c", script]).arg(&file))?;
    out.exits(0)?.stdout_has("host\n")?.stdout_has("\nnull\nnull\n1 2\n")?;
    out.check(out.text().matches("Read-only file system").count() == 2, || "two refusals".to_owned())?;
    let mounts = process::Mount::parse(&out.errors())?;
    let inherited = mounts.iter().filter(|mount| {
        !["/proc", "/dev", "/dev/null"].iter().any(|own| mount.target == std::path::Path::new(own))
    });
    for mount in inherited {
        // What lies below /dev and /proc is covered, and restricted like the rest.
        if !(mount.has("ro") && mount.has("nosuid") && mount.has("nodev")) {
            return Err(format!("not restricted: {mount:?}").into());
        }
    }
    Ok(())
}

/// What lies over the root is found by `..`, which steps down into it, and by no other path.
fn a_root_bind_hides_the_old_root(user: &User) -> Verdict {
    let file = user.put("file", "host\n")?;
    for edit in ["host-root", "other-root"] {
        for name in ["usr", "bin", "lib", "lib64", "proc", "tmp"] {
            user.mkdir(format!("root/{name}"))?;
        }
        let script =
            "stat -c %d:%i / /.. /proc/self/root/..; (echo x >/..$0) 2>&-; cat /proc/self/mountinfo >&2";
        let out = output(user.edited(edit).args(["sh", "-c", script]).arg(&file))?;
        let text = out.text();
        let ids: Vec<_> = text.lines().collect();
        out.check(ids.len() == 3 && ids[0] == ids[1] && ids[0] == ids[2], || "one root".to_owned())?;
        out.check(fs::read_to_string(&file)? == "host\n", || "ESCAPE: the host changed".to_owned())?;
        let roots = process::Mount::parse(&out.errors())?;
        let roots = roots.iter().filter(|mount| mount.target.as_os_str() == "/").count();
        out.check(roots == 1, || "one mount at the root".to_owned())?;
    }
    Ok(())
}

fn writable_host_root(plan: &mut Plan) {
    host_root(plan);
    plan.guarded.clear();
    plan.root.read_only = false;
    plan.mounts[0].op = bind("/", Access::Writable);
}

fn the_hosts_root_writable(user: &User) -> Verdict {
    let file = user.put("file", "host\n")?;
    let out = output(user.edited("writable-host-root").args(["sh", "-c", "echo new >$0"]).arg(&file))?;
    out.exits(0)?.check(fs::read_to_string(&file)? == "new\n", || "written".to_owned())?;
    Ok(())
}

fn other_root(plan: &mut Plan) {
    plan.mounts.clear();
    add(plan, "/", bind(user_dir().join("root"), Access::ReadOnly));
    for name in ["usr", "bin", "lib", "lib64"] {
        let source = fs::canonicalize(PathBuf::from("/").join(name));
        if let Ok(source) = source {
            add(plan, PathBuf::from("/").join(name), bind(source, Access::ReadOnly));
        }
    }
    add(plan, "/proc", MountOp::Proc);
    add(plan, "/tmp", MountOp::Tmpfs { size: 1 << 20, inodes: 9, mode: 0o1777, access: Access::Writable });
    plan.directory.value.0 = "/tmp".into();
}

fn another_directory_as_root(user: &User) -> Verdict {
    for name in ["usr", "bin", "lib", "lib64", "proc", "tmp"] {
        user.mkdir(format!("root/{name}"))?;
    }
    user.put("root/mark", "its own root\n")?;
    let before = crate::common::Snapshot::of(user.dir().join("root"))?;
    let out = edited_sh(user, "other-root", "cat /mark; pwd; ls /; (echo x >/mark) 2>&1; echo x >/tmp/x")?;
    out.exits(0)?.stdout_has("its own root\n/tmp\nbin\nlib\nlib64\nmark\nproc\ntmp\nusr\n")?;
    out.stdout_has("Read-only file system")?;
    before.same_as(&crate::common::Snapshot::of(user.dir().join("root"))?)
}

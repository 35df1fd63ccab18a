//! Root filesystems of layers that `fuse-overlayfs` serves.

use crate::common::{Case, Need, Snapshot, User, Verdict, case, output};
use crate::stage::{kept, layer, on, root, script, text};
use std::path::Path;

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(served_and_thrown_away),
        case!(served_and_kept),
        case!(served_in_a_directory),
        case!(served_read_only),
        case!(served_from_many_layers),
        case!(served_to_more_users_than_one).only_as_user().needs(Need::SubordinateIds),
        case!(served_within_the_limit_of_memory),
    ];
    let served = |case: Case| case.needs(Need::Program("fuse-overlayfs")).needs(Need::Device("/dev/fuse"));
    cases.into_iter().map(served).collect()
}

const FUSE: [&str; 2] = ["--set", "filesystem.overlay-driver=fuse-overlayfs"];

fn with<'o>(options: &[&'o str]) -> Vec<&'o str> {
    FUSE.iter().chain(options).copied().collect()
}

fn served_and_thrown_away(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let before = Snapshot::with_times(&root)?;
    let writes = "echo new >/etc/new; echo changed >/etc/whose; rm -r /var/lib/directory; cat /etc/new /etc/whose; ls /var/lib";
    script(user, &root, &FUSE, writes)?.exits(0)?.stdout_is("new\nchanged\n")?.stderr_is("")?;
    script(user, &root, &FUSE, "cat /etc/whose; ls /var/lib")?.stdout_is("the root's\ndirectory\n")?;
    before.same_as(&Snapshot::with_times(&root)?)
}

fn served_and_kept(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let before = Snapshot::with_times(&root)?;
    let options = with(&["--set", "filesystem.writable=layer:mine"]);
    let writes = "echo new >/etc/new; rm /etc/whose; rm -r /var/lib/directory; mkdir /var/lib/directory; >/tmp/x; >~/x";
    script(user, &root, &options, writes)?.exits(0)?.stderr_is("")?;
    let held = Snapshot::of(kept(user, "mine").join("fuse-overlayfs/upper"))?;
    let real = |path: &&Path| !path.to_string_lossy().contains(".wh.");
    let expected = ["etc", "etc/new", "etc/whose", "var", "var/lib", "var/lib/directory"].map(Path::new);
    if !held.paths().into_iter().filter(real).eq(expected) {
        return Err(format!("the layer holds {:?}", held.paths()).into());
    }
    script(user, &root, &options, "ls -A /etc /var/lib/directory; cat /etc/hosts")?
        .stdout_is("/etc:\nhostname\nhosts\nnew\nresolv.conf\n\n/var/lib/directory:\n127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost ip6-loopback sandbox\n")?;
    // What the other driver would take for something else is not given to it.
    let others = script(user, &root, &["--set", "filesystem.writable=layer:mine"], "echo ran")?;
    others.exits(125)?.stdout_is("")?.stderr_has("it was written by another overlay driver")?;
    let left = std::fs::read_dir(kept(user, ""))?.count();
    if left != 1 {
        return Err(format!("{left} entries are left where layers are").into());
    }
    before.same_as(&Snapshot::with_times(&root)?)
}

fn served_in_a_directory(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let layer = user.dir().join("a layer, of:mine");
    let set = format!("filesystem.writable={}", layer.display());
    script(user, &root, &with(&["--set", &set]), "echo new >/etc/new")?.exits(0)?;
    if text(layer.join("fuse-overlayfs/upper/etc/new"))? != "new\n" {
        return Err("it should be in the layer".into());
    }
    script(user, &root, &with(&["--set", &set]), "cat /etc/new")?.stdout_is("new\n")?;
    // A link in the place of a part of it leads nowhere.
    let outside = user.mkdir("outside")?;
    for part in ["", "/work", "/upper"] {
        let layer = user.mkdir(format!("layer{}", part.replace('/', "-")))?;
        let link = layer.join(format!("fuse-overlayfs{part}"));
        user.mkdir(link.parent().unwrap_or(&layer))?;
        std::os::unix::fs::symlink(&outside, link)?;
        let set = format!("filesystem.writable={}", layer.display());
        let refused =
            script(user, &root, &with(&["--cwd", "none", "--set", &set]), "echo x >/etc/x; echo ran")?;
        refused.exits(125)?.stdout_is("")?.stderr_has("cannot write the layer")?;
    }
    if Snapshot::of(&outside)?.paths().iter().any(|path| path.ends_with("x")) {
        return Err("something was written outside".into());
    }
    Ok(())
}

fn served_read_only(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let before = Snapshot::with_times(&root)?;
    let options = with(&["--set", "filesystem.writable=none"]);
    let out = script(
        user,
        &root,
        &options,
        "cat /etc/whose; echo x >/etc/new; echo x >/etc/whose; echo t >/tmp/t",
    )?;
    out.stdout_is("the root's\n")?.stderr_has("Read-only file system")?;
    before.same_as(&Snapshot::with_times(&root)?)
}

/// The topmost first; a file in one hides that of another, directories are merged.
fn served_from_many_layers(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let mut options: Vec<String> = FUSE.map(str::to_owned).to_vec();
    for number in 0..60 {
        let name = if number == 7 { "layer, 7:\\".to_owned() } else { format!("layer-{number}") };
        let layer = layer(user, &name, &format!("etc/of-{number}"), "x\n")?;
        user.put(layer.join("etc/whose"), format!("{number}\n"))?;
        options.extend(["--layer".to_owned(), layer.display().to_string()]);
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    script(user, &root, &options, "cat /etc/whose; ls /etc | grep -c of-; cat /var/lib/directory/file")?
        .exits(0)?
        .stdout_is("0\n60\nthe root's\n")?;
    Ok(())
}

/// Files have the owners that they have inside, as the map says.
fn served_to_more_users_than_one(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let before = Snapshot::with_times(&root)?;
    let options = with(&[
        "--cwd",
        "none",
        "--set",
        "privileges.uid=subordinate",
        "--set",
        "privileges.capabilities=['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'SETUID', 'SETGID']",
        "--set",
        "filesystem.writable=layer:owned",
    ]);
    let writes = "echo x >/etc/new; chown 5:6 /etc/new; mkdir -m 700 /etc/theirs; chown 7 /etc/theirs";
    script(user, &root, &options, writes)?.exits(0)?.stderr_is("")?;
    let look =
        "stat -c '%u %g' /etc/new /etc/theirs /etc/whose; setpriv --reuid 9 --clear-groups ls /etc/theirs";
    let out = script(user, &root, &options, look)?;
    out.stdout_is("5 6\n7 0\n0 0\n")?.stderr_has("Permission denied")?;
    before.same_as(&Snapshot::with_times(&root)?)?;
    output(user.sbx().args(["discard", "owned"]))?.exits(0)?;
    Ok(())
}

/// What is written in memory is not the sandbox's own memory there, and bounded all the same.
fn served_within_the_limit_of_memory(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let mut sbx = on(user, &root);
    sbx.args(FUSE).args(["--set", "limits.memory={ value = '64M', level = 'require' }"]);
    let out = output(sbx.args(["sh", "-c", "df -k --output=size / | tail -n 1 | tr -d ' '"]))?;
    if out.errors().contains("cannot limit memory") {
        // Without a cgroup there is no such limit, and nothing runs.
        return out.exits(125).map(drop);
    }
    out.exits(0)?.stdout_is("65536\n")?;
    Ok(())
}

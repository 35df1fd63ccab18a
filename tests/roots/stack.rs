//! Layers over a root, and a throw-away layer for what is written.

use crate::common::{Case, Snapshot, User, Verdict, case, output};
use crate::stage::{given, kept, layer, on, root, script};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(a_directory_is_the_root),
        case!(what_is_written_goes_nowhere),
        case!(directories_can_go_too),
        case!(what_every_sandbox_has),
        case!(names_are_looked_up_behind_a_link),
        case!(without_a_writable_layer),
        case!(landlocks_rules_know_the_root),
        case!(the_topmost_first),
        case!(layers_alone),
        case!(sixty_layers),
        case!(names_of_every_kind),
        case!(directories_of_lower_layers_stay_in_place),
        case!(a_profile_says_it),
        case!(it_is_explained),
    ]
}

fn a_directory_is_the_root(user: &User) -> Verdict {
    let root = root(user, "root")?;
    script(user, &root, &[], "cat /etc/whose; ls /var/lib/directory; pwd; ls -d /srv 2>&1")?.stdout_is(
        &format!(
            "the root's\nfile\n{}\nls: cannot access '/srv': No such file or directory\n",
            user.project().display()
        ),
    )?;
    // The profile's wishes for the host's system are not this root's.
    script(user, &root, &[], "ls /etc")?.stdout_is("hostname\nhosts\nresolv.conf\nwhose\n")?;
    Ok(())
}

/// With the root bound the same writes reach it; the overlay alone keeps them away.
fn what_is_written_goes_nowhere(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let writes = "echo new >/etc/new; echo changed >/etc/whose; rm /var/lib/directory/file; mkdir /opt; ln -s /x /link";
    let before = Snapshot::with_times(&root)?;
    script(user, &root, &[], writes)?.exits(0)?.stderr_is("")?;
    before.same_as(&Snapshot::with_times(&root)?)?;
    script(user, &root, &[], "cat /etc/whose; ls -d /etc/new /opt 2>/dev/null")?.stdout_is("the root's\n")?;
    let mut bound = user.edited("bound");
    output(given(&mut bound, &root).args(["sh", "-c", writes]))?.exits(0)?;
    let difference = before.difference(&Snapshot::with_times(&root)?);
    for part in ["+ etc/new", "~ etc/whose", "- var/lib/directory/file", "+ opt", "+ link"] {
        if !difference.contains(part) {
            return Err(format!("without the overlay {part} is missing in:\n{difference}").into());
        }
    }
    Ok(())
}

/// That one is gone, and not only empty, is a mark that a tmpfs can hold since Linux 6.6. Before, the layer is on disk, which is
/// told, and goes in the end, with modes and depths that a program may leave behind; so does what a killed one has left.
fn directories_can_go_too(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let before = Snapshot::with_times(&root)?;
    let script_text =
        "rm -r /var/lib/directory; ls /var/lib; mkdir /var/lib/directory; ls /var/lib/directory";
    script(user, &root, &[], script_text)?.exits(0)?.stdout_is("")?.stderr_is("")?;
    before.same_as(&Snapshot::with_times(&root)?)?;
    let layers = kept(user, "");
    let in_memory = sbx::sys::mount::memory_holds_attributes();
    if !in_memory {
        let left = user.mkdir(layers.join(".passing-1-1/upper/some"))?;
        fs::set_permissions(&left, fs::Permissions::from_mode(0o000))?;
    }
    let deep =
        "mkdir -m 0 /closed; i=0; while [ $i -lt 300 ]; do mkdir d && cd d; i=$((i+1)); done; chmod 0 .";
    let mut sbx = user.sbx();
    sbx.arg("--root").arg(&root).args(["--ro", "/usr", "--chdir", "/var", "sh", "-c", deep]);
    let out = output(&mut sbx)?;
    out.exits(0)?;
    if in_memory {
        out.stderr_is("")?;
        return Ok(());
    }
    out.stderr_has("the writable layer is on disk and without bounds until the end")?;
    let names: Vec<_> = fs::read_dir(&layers)?.flatten().map(|entry| entry.file_name()).collect();
    out.check(names.is_empty(), || format!("nothing should be left, not {names:?}"))?;
    Ok(())
}

/// It lies over what the root has, and is not in the root.
fn what_every_sandbox_has(user: &User) -> Verdict {
    let root = root(user, "root")?;
    user.put(root.join("tmp/of-the-root"), "")?;
    let before = Snapshot::of(&root)?;
    let look = "cat /etc/hosts /etc/hostname; ls -A /tmp /run/user; test -c /dev/null && test -d /proc/1 && echo there; \
                touch /tmp/mine /run/mine /dev/shm/mine ~/mine && echo written";
    let out = script(user, &root, &["--hostname", "box"], look)?;
    out.stdout_is(&format!(
        "127.0.0.1 localhost box\n::1 localhost ip6-localhost ip6-loopback box\nbox\n/run/user:\n{}\n\n/tmp:\n{}there\nwritten\n",
        user.uid(),
        // The test's own directory may lie below.
        if user.dir().starts_with("/tmp") { "sbx-test\n" } else { "" }
    ))?;
    before.same_as(&Snapshot::of(&root)?)
}

/// Distributions have a link into `/run`, which is the sandbox's own: it leads to what the sandbox has laid there.
fn names_are_looked_up_behind_a_link(user: &User) -> Verdict {
    for target in ["../run/systemd/resolve/stub-resolv.conf", "/run/NetworkManager/resolv.conf"] {
        let name = target.rsplit_once("run/").map_or("", |(_, rest)| rest).replace('/', "-");
        let root = root(user, &name)?;
        std::os::unix::fs::symlink(target, root.join("etc/resolv.conf"))?;
        let before = Snapshot::with_times(&root)?;
        for options in
            [&[][..], &["--set", "filesystem.writable=none"], &["--set", "filesystem.writable=layer:mine"]]
        {
            for _ in 0..2 {
                let out = script(user, &root, options, "cat /etc/resolv.conf; readlink /etc/resolv.conf")?;
                out.stderr_is("")?.stdout_is(&format!("# This sandbox has no network.\n{target}\n"))?;
            }
        }
        before.same_as(&Snapshot::with_times(&root)?)?;
        output(user.sbx().args(["discard", "mine"]))?.exits(0)?;
    }
    Ok(())
}

fn without_a_writable_layer(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let none = ["--set", "filesystem.writable=none"];
    let tries = "for file in /etc/new /etc/whose /new; do echo x >$file; done; rm /etc/whose; mkdir /opt; touch /tmp/x && echo fine";
    let out = script(user, &root, &none, tries)?;
    out.stdout_is("fine\n")?;
    let refused = out.errors().matches("ead-only file system").count();
    out.check(refused == 5, || format!("all five should be refused, not {refused}"))?;
    Ok(())
}

/// The files' rules once more: what can be written can, and a sealed root can't.
fn landlocks_rules_know_the_root(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let rules = ["--set", "landlock.files=true"];
    let tries = "cat /etc/whose; echo new >/etc/new && cat /etc/new; echo x >x; echo x >/tmp/x; ls /tmp/x";
    script(user, &root, &rules, tries)?.stdout_is("the root's\nnew\n/tmp/x\n")?.stderr_is("")?;
    let sealed = [&rules[..], &["--set", "filesystem.writable=none"]].concat();
    let out = script(user, &root, &sealed, "cat /etc/whose; echo new >/etc/new; ls /etc/new")?;
    out.stdout_is("the root's\n")?.exits(2)?;
    Ok(())
}

fn the_topmost_first(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let top = layer(user, "top", "etc/whose", "the top's\n")?;
    let middle = layer(user, "middle", "etc/whose", "the middle's\n")?;
    user.put(middle.join("etc/middle"), "the middle's\n")?;
    let mut sbx = on(user, &root);
    sbx.arg("--layer").arg(&top).arg("--layer").arg(&middle);
    output(sbx.args(["cat", "/etc/whose", "/etc/middle"]))?.stdout_is("the top's\nthe middle's\n")?;
    // The command line is above the profile.
    let mut sbx = on(user, &root);
    sbx.arg("--set").arg(format!("filesystem.layers=[\"{}\"]", top.display())).arg("--layer").arg(&middle);
    output(sbx.args(["cat", "/etc/whose"]))?.stdout_is("the middle's\n")?;
    Ok(())
}

/// An empty root with layers over it.
fn layers_alone(user: &User) -> Verdict {
    let lowest = root(user, "lowest")?;
    let top = layer(user, "top", "etc/whose", "the top's\n")?;
    let mut sbx = user.sbx();
    sbx.args(["--root", "empty", "--ro", "/usr", "--layer"]).arg(&top).arg("--layer").arg(&lowest);
    output(sbx.args(["cat", "/etc/whose", "/var/lib/directory/file"]))?
        .stdout_is("the top's\nthe root's\n")?;
    Ok(())
}

fn sixty_layers(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let mut sbx = on(user, &root);
    for number in 0..60 {
        let layer =
            layer(user, &format!("layer-{number}"), &format!("layers/{number}"), &format!("{number}\n"))?;
        user.put(layer.join("etc/whose"), format!("of {number}\n"))?;
        sbx.arg("--layer").arg(layer);
    }
    output(sbx.args(["sh", "-c", "ls /layers | wc -l; cat /layers/59 /etc/whose"]))?
        .stdout_is("60\n59\nof 0\n")?;
    Ok(())
}

/// Commas, colons and backslashes are separators to the kernel's own way of naming layers.
fn names_of_every_kind(user: &User) -> Verdict {
    let root = root(user, "root,of:odd\\name")?;
    let mut sbx = on(user, &root);
    let names: [&[u8]; 6] = [b"a,b", b"a:b", b"a\\b", b"a b", b"a\nb", b"a\xff\xfeb"];
    for (number, name) in names.iter().enumerate() {
        let layer = user.dir().join(OsStr::from_bytes(name));
        user.mkdir(&layer)?;
        user.put(layer.join(format!("layers/{number}")), "")?;
        sbx.arg("--layer").arg(layer);
    }
    output(sbx.args(["ls", "/layers"]))?.exits(0)?.stdout_is("0\n1\n2\n3\n4\n5\n")?;
    Ok(())
}

/// What `userxattr` rules out: a directory of a lower layer can't be renamed, which mv(1) makes up for by copying.
fn directories_of_lower_layers_stay_in_place(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let rename = "perl -e 'rename \"/var/lib/directory\", \"/var/lib/other\" or die \"$!\\n\"'";
    script(user, &root, &[], rename)?.stderr_is("Invalid cross-device link\n")?;
    script(user, &root, &[], "mv /var/lib/directory /var/lib/other && ls /var/lib /var/lib/other")?
        .stdout_is("/var/lib:\nother\n\n/var/lib/other:\nfile\n")?;
    Ok(())
}

fn a_profile_says_it(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let top = layer(user, "top", "etc/whose", "the top's\n")?;
    let profile = user.put(
        "profile.toml",
        format!(
            "schema = 1\n[filesystem]\nroot = \"{}\"\nlayers = [\"{}\"]\nread = [\"/usr\"]\n",
            root.display(),
            top.display()
        ),
    )?;
    let mut sbx = user.sbx();
    output(sbx.arg("--profile").arg(&profile).args(["cat", "/etc/whose"]))?.stdout_is("the top's\n")?;
    fs::remove_dir_all(&top)?;
    let mut sbx = user.sbx();
    let refused = output(sbx.arg("--profile").arg(&profile).args(["cat", "/etc/whose"]))?;
    refused.exits(125)?.stdout_is("")?.stderr_has("top")?.stderr_has("no such file or directory")?;
    Ok(())
}

fn it_is_explained(user: &User) -> Verdict {
    let root = root(user, "root")?;
    let explain = |options: &[&str]| {
        let mut sbx = user.sbx();
        sbx.arg("explain").arg("--root").arg(&root).args(options).arg("true");
        output(&mut sbx)
    };
    explain(&[])?.stdout_has("1 lower dirs, writes are lost")?.stdout_has("writable, at most 2G")?;
    explain(&["--set", "filesystem.writable=layer:mine"])?.stdout_has("sbx/layers/mine")?;
    explain(&["--set", "filesystem.writable=none"])?.stdout_has("read-only")?;
    Ok(())
}

//! Images that umoci and buildah make: the tree that a sandbox sees is the one that umoci unpacks.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::stage::import;
use libtest_mimic::Failed;
use std::path::Path;

pub(crate) fn cases() -> Vec<Case> {
    let needs = |case: Case| {
        let programs = ["umoci", "busybox", "python3"];
        programs.into_iter().fold(case, |case, program| case.needs(Need::Program(program)))
    };
    vec![needs(case!(by_umoci)), needs(case!(by_buildah)).needs(Need::Program("buildah"))]
}

/// In front of each: attributes that are set and taken.
const ATTRIBUTES: &str =
    "x() { python3 -c 'import os, sys; os.setxattr(sys.argv[1], sys.argv[2], sys.argv[3].encode())' \"$@\"; }
     y() { python3 -c 'import os, sys; os.removexattr(sys.argv[1], sys.argv[2])' \"$@\"; }";

/// Three layers: files of all kinds, then deletions and directories made anew, then changes deep below what stays.
const STEPS: [&str; 3] = [
    "mkdir -p bin t/gone t/anew/sub t/deep/er/est t/closed; cp /usr/bin/busybox bin/
     for name in sh stat find sort cat; do ln -s busybox bin/$name; done
     echo one >t/one; echo two >t/gone/two; echo x >t/anew/sub/x; echo y >t/anew/y; echo deep >t/deep/er/est/file
     ln -s one t/link; ln -s /nowhere t/dangling; ln t/one t/hard; mkfifo t/fifo
     chmod 711 t/deep; chmod 700 t/deep/er; chmod 1777 t/closed; chmod 400 t/one; touch 't/odd name'
     mkdir usr; ln -s usr/lib lib; ln -s usr/lib64 lib64
     x t/deep user.dir d; x t/deep/er user.er 1; x t/anew user.gone g; x 't/odd name' user.odd 'a b'; x t/deep/er/est/file user.one 1
     echo both >t/deep/h1; ln t/deep/h1 t/deep/h2; x t/deep/h2 user.both b",
    "rm t/one; rm -r t/gone t/anew; mkdir t/anew; echo new >t/anew/new; chmod 750 t/anew; rm t/link; mkdir t/link; echo in >t/link/in
     x t/anew user.anew 2; y t/deep user.dir; x t/link/in user.in i",
    "echo more >t/deep/er/est/more; rm -r t/link; echo file >t/link; mkdir t/gone; ln t/deep/er/est/file t/again
     x t/deep/er user.er 2; x t/deep user.later l; y 't/odd name' user.odd; x t/again user.new n",
];

/// Every attribute of a user's, by Python inside and outside.
const LOOK_AT_ATTRIBUTES: &str = "
import os
for top, directories, files in sorted(os.walk('t')):
    for path in [top] + sorted(os.path.join(top, name) for name in files):
        if not os.path.islink(path):
            print(path, [(name, os.getxattr(path, name)) for name in sorted(os.listxattr(path)) if name.startswith('user.')])
";

/// What is looked at of every entry: inside by busybox, outside by the same. Of a file whose other name a later layer has deleted,
/// and of a directory, an overlay says another number of links.
const LOOK: &str = "find t | sort | while read -r f; do stat -c '%n %a %F %Y %N' \"$f\"; case $f in t/deep/h*) stat -c %h $f;; esac; [ -f \"$f\" ] && [ ! -L \"$f\" ] && cat \"$f\"; done; true";

fn umoci(user: &User, words: &[&str]) -> Verdict {
    output(user.command("umoci").args(words).current_dir(user.dir()))?.exits(0)?;
    Ok(())
}

fn shell(user: &User, place: &Path, script: &str) -> Result<String, Failed> {
    let out = output(user.command("/usr/bin/busybox").args(["sh", "-c", script]).current_dir(place))?;
    out.exits(0)?;
    Ok(out.text())
}

fn by_umoci(user: &User) -> Verdict {
    umoci(user, &["init", "--layout", "made"])?;
    umoci(user, &["new", "--image", "made:a"])?;
    for (number, step) in STEPS.iter().enumerate() {
        let bundle = format!("bundle{number}");
        umoci(user, &["unpack", "--rootless", "--image", "made:a", &bundle])?;
        shell(user, &user.dir().join(&bundle).join("rootfs"), &format!("{ATTRIBUTES}\n{step}"))?;
        umoci(user, &["repack", "--image", "made:a", &bundle])?;
    }
    compare(user, "made", "made:a")
}

fn by_buildah(user: &User) -> Verdict {
    // In a namespace of its own, as it has no subordinate ids here; with copies for layers.
    let run = |words: &[&str]| {
        let mut command = user.command("buildah");
        command.args(["--root", "storage", "--runroot", "runroot", "--storage-driver", "vfs"]).args(words);
        output(command.current_dir(user.dir()).env("BUILDAH_ISOLATION", "chroot").env("STORAGE_OPTS", ""))
    };
    let first = run(&["from", "scratch"])?;
    if first.exits(0).is_err() {
        return Err(first.failure("buildah to work"));
    }
    let mut container = first.text().trim().to_owned();
    for (number, step) in STEPS.iter().enumerate() {
        let tree = user.mkdir("script")?;
        let script = user.put(tree.join("step.sh"), format!("set -e\ncd \"$1\"\n{ATTRIBUTES}\n{step}\n"))?;
        let mount = format!(
            "m=$(buildah --root storage --runroot runroot --storage-driver vfs mount {container}) && sh {} \"$m\"",
            script.display()
        );
        let out = if user.is_root() {
            output(user.command("sh").args(["-c", &mount]).current_dir(user.dir()))?
        } else {
            run(&["unshare", "sh", "-c", &mount])?
        };
        out.exits(0)?;
        let name = format!("step{number}");
        run(&["commit", "--quiet", "--format", "oci", &container, &name])?.exits(0)?;
        container = run(&["from", "--pull-never", &name])?.text().trim().to_owned();
    }
    run(&["push", "--quiet", "step2", "oci:made:a"])?.exits(0)?;
    compare(user, "made", "made:a")
}

/// What a sandbox sees of the image, and what umoci unpacks.
fn compare(user: &User, layout: &str, reference: &str) -> Verdict {
    umoci(user, &["unpack", "--rootless", "--image", reference, "wanted"])?;
    let wanted = shell(user, &user.dir().join("wanted/rootfs"), LOOK)?;
    import(user, &user.dir().join(layout), &["made"])?.exits(0)?;
    let out =
        output(user.sbx().args(["--quiet", "--root", "image:made", "--chdir", "/", "/bin/sh", "-c", LOOK]))?;
    out.exits(0)?.stdout_is(&wanted)?;
    // It is the whole tree that was looked at.
    for part in [
        "t/anew/new",
        "t/deep 711",
        "t/deep/er 700",
        "'t/dangling' -> '/nowhere'",
        "t/fifo",
        "t/odd name",
        "both\n",
    ] {
        out.stdout_has(part)?;
    }
    let mut python = user.command("python3");
    let wanted =
        output(python.args(["-c", LOOK_AT_ATTRIBUTES]).current_dir(user.dir().join("wanted/rootfs")))?;
    let python = ["--ro", "/usr", "--chdir", "/", "/usr/bin/python3", "-c", LOOK_AT_ATTRIBUTES];
    let found = output(user.sbx().args(["--quiet", "--root", "image:made"]).args(python))?;
    found.exits(0)?.stdout_is(&wanted.text())?;
    for part in ["('user.later', b'l')]", "t/deep/er [('user.er', b'2')]", "t/anew [('user.anew', b'2')]"] {
        found.stdout_has(part)?;
    }
    found.stdout_has("t/deep/h1 [('user.both', b'b')]")?.stdout_lacks("user.odd")?;
    out.stdout_lacks("t/one")?.stdout_lacks("two")?.stdout_lacks("anew/sub")?;
    Ok(())
}

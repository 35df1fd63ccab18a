//! Images that umoci and buildah make: the tree that a sandbox sees is the one that umoci unpacks.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::stage::import;
use libtest_mimic::Failed;
use std::path::Path;

pub(crate) fn cases() -> Vec<Case> {
    let needs = |case: Case| case.needs(Need::Program("umoci")).needs(Need::Program("busybox"));
    vec![needs(case!(by_umoci)), needs(case!(by_buildah)).needs(Need::Program("buildah"))]
}

/// Three layers: files of all kinds, then deletions and directories made anew, then changes deep below what stays.
const STEPS: [&str; 3] = [
    "mkdir -p bin t/gone t/anew/sub t/deep/er/est t/closed; cp /usr/bin/busybox bin/
     for name in sh stat find sort cat; do ln -s busybox bin/$name; done
     echo one >t/one; echo two >t/gone/two; echo x >t/anew/sub/x; echo y >t/anew/y; echo deep >t/deep/er/est/file
     ln -s one t/link; ln -s /nowhere t/dangling; ln t/one t/hard; mkfifo t/fifo
     chmod 711 t/deep; chmod 700 t/deep/er; chmod 1777 t/closed; chmod 400 t/one; touch 't/odd name'
     echo both >t/deep/h1; ln t/deep/h1 t/deep/h2",
    "rm t/one; rm -r t/gone t/anew; mkdir t/anew; echo new >t/anew/new; chmod 750 t/anew; rm t/link; mkdir t/link; echo in >t/link/in",
    "echo more >t/deep/er/est/more; rm -r t/link; echo file >t/link; mkdir t/gone; ln t/deep/er/est/file t/again",
];

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
        shell(user, &user.dir().join(&bundle).join("rootfs"), step)?;
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
        let script = user.put(tree.join("step.sh"), format!("set -e\ncd \"$1\"\n{step}\n"))?;
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
    out.stdout_lacks("t/one")?.stdout_lacks("two")?.stdout_lacks("anew/sub")?;
    Ok(())
}

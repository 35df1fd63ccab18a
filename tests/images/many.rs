//! Much of it: many layers, many files, and more names than there may be.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::stage::{Layer, Packed, busybox, import, layout, run, stored};
use libtest_mimic::Failed;
use sbx::image::Digest;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufWriter, Read as _, Write as _};
use std::process::{Command, Stdio};
use tar::{EntryType, Header};

pub(crate) fn cases() -> Vec<Case> {
    let busybox = || Need::Program("busybox");
    vec![
        case!(sixty_layers).needs(busybox()),
        case!(ten_thousand_files).needs(busybox()),
        case!(a_million_names).only_as_user(),
        case!(what_is_remembered_has_a_bound).only_as_user(),
    ]
}

const LAYERS: usize = 60;

/// Each layer writes over a file of all, adds one, and takes one away of the layer before; one makes a directory anew.
fn sixty_layers(user: &User) -> Verdict {
    let mut layers: Vec<Packed> = vec![busybox()?.dir("of", 0o755).dir("anew", 0o755).into()];
    let (mut of, mut anew) = (BTreeSet::new(), BTreeSet::new());
    for number in 1..LAYERS {
        let mut layer = Layer::default().file("all", &format!("{number}\n"));
        if number == 40 {
            layer = layer.dir("anew", 0o711).file("anew/.wh..wh..opq", "");
            anew.clear();
        }
        layer = layer.file(&format!("of/{number}"), "").file(&format!("anew/{number}"), "");
        of.insert(format!("of/{number}"));
        anew.insert(format!("anew/{number}"));
        if number % 3 == 0 {
            layer = layer.file(&format!("of/.wh.{}", number - 1), "");
            of.remove(&format!("of/{}", number - 1));
        }
        layers.push(layer.into());
    }
    let image = layout(user, "image", layers, "")?;
    import(user, &image, &["x"])?.exits(0)?;
    if stored(user).len() != LAYERS {
        return Err(format!("{} layers are stored", stored(user).len()).into());
    }
    let mut wanted = format!("{}\n711\n", LAYERS - 1);
    for name in of.iter().chain(&anew) {
        let _ = writeln!(wanted, "{name}");
    }
    let look = "cd /; cat all; stat -c %a anew; { find of -type f; find anew -type f; } | busybox sort >/tmp/l; grep ^of /tmp/l; grep ^anew /tmp/l";
    let look = look.replace("grep", "busybox grep");
    // Written over all of them, too.
    let script = format!("{look}; echo new >/of/1; rm /all; find /all 2>/dev/null; cat /of/1");
    run(user, "x", &["/bin/sh", "-c", &script])?.stdout_is(&format!("{wanted}new\n"))?;
    run(user, "x", &["/bin/sh", "-c", &look])?.exits(0)?.stdout_is(&wanted)?;
    Ok(())
}

/// Ten times as many are in the benchmark, where it is compiled to be fast.
fn ten_thousand_files(user: &User) -> Verdict {
    const FILES: usize = 10_000;
    let mut layer = busybox()?;
    for number in 0..FILES {
        layer = layer.file(&format!("many/{}/{number}", number / 1000), "");
    }
    import(user, &layout(user, "image", vec![layer.into()], "")?, &["x"])?.exits(0)?;
    let count =
        "find /many -type f | busybox wc -l; cat /many/9/9999 && echo there; cat /many/9/10000 || echo not";
    run(user, "x", &["/bin/sh", "-c", count])?.exits(0)?.stdout_is(&format!("{FILES}\nthere\nnot\n"))?;
    Ok(())
}

/// The headers of so many empty files in one directory, through gzip.
fn names(count: u32) -> Result<Vec<u8>, Failed> {
    let mut gzip = Command::new("gzip").arg("-1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (stdin, stdout) = (gzip.stdin.take(), gzip.stdout.take());
    let (stdin, mut stdout) = stdin.zip(stdout).ok_or("no pipes")?;
    let write = move || -> std::io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 20, stdin);
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(33);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        for number in 0..count {
            header.as_old_mut().name[..12].copy_from_slice(format!("many/{number:07}").as_bytes());
            header.set_cksum();
            out.write_all(header.as_bytes())?;
        }
        out.write_all(&[0; 1024])?;
        out.flush()
    };
    let writer = std::thread::spawn(write);
    let mut blob = Vec::new();
    stdout.read_to_end(&mut blob)?;
    writer.join().map_err(|_| "the writer of names panicked")??;
    gzip.wait()?;
    Ok(blob)
}

/// An import that may have this much memory.
fn within(user: &User, kib: u32, image: &std::path::Path) -> Result<crate::common::Output, Failed> {
    let script = format!("ulimit -v {kib}; exec \"$0\" image import \"$1\" x");
    let mut command = user.command("sh");
    command.args(["-c", &script]).arg(user.sbx_path()).arg(image);
    crate::common::output_within(std::time::Duration::from_secs(200), &mut command)
}

/// A directory of a million names, each of another owner than root: more than the usual bound has room for. It is said in one
/// line, in bounded memory, and nothing is left.
fn a_million_names(user: &User) -> Verdict {
    let packed = Packed { blob: names(1_000_000)?, diff_id: Digest::of(b"never read to its end") };
    let image = layout(user, "image", vec![packed], "")?;
    let refused = within(user, 400 << 10, &image)?;
    refused.exits(125)?.stdout_is("")?.stderr_has("the image has more than 500000 members\n  hint: ")?;
    refused.check(refused.errors().lines().count() == 2, || "one line and a hint".to_owned())?;
    refused.check(stored(user).is_empty(), || format!("nothing left but {:?}", stored(user)))?;
    Ok(())
}

/// Attributes that no file here can have are remembered, and paths are; a layer can't say more of them than memory holds.
fn what_is_remembered_has_a_bound(user: &User) -> Verdict {
    let value = vec![b'x'; 1000 << 10];
    let layer = |count: u32| {
        (0..count).fold(Layer::default(), |layer, number| {
            layer.pax("SCHILY.xattr.trusted.x", &value).file(&format!("{number}"), "")
        })
    };
    let image = layout(user, "image", vec![layer(300).into()], "")?;
    let refused = within(user, 700 << 10, &image)?;
    refused.exits(125)?.stdout_is("")?.stderr_has("its members say more than may be remembered of them")?;
    refused.check(stored(user).is_empty(), || "nothing left".to_owned())?;
    // The control: less is fine.
    let fine = layout(user, "fine", vec![layer(20).into()], "")?;
    within(user, 700 << 10, &fine)?.exits(0)?;
    // A path brings directories along; they count.
    let deep = |name: &str| format!("{}{name}", "d/".repeat(1000));
    let layer = Layer::default().pax("path", deep("a").as_bytes()).file("x", "");
    let image = layout(user, "deep", vec![layer.into()], "")?;
    let import = |most: &str| {
        output(user.sbx().args(["image", "import"]).arg(&image).args(["deep", "--max-entries", most]))
    };
    import("900")?.exits(125)?.stderr_has("the image has more than 900 members")?;
    import("1100")?.exits(0)?;
    Ok(())
}

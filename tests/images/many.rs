//! Much of it: many layers and many files. A hundred thousand files, and a million names in one directory, are in the benchmark
//! (`ONLY=images`), where sbx is compiled to be fast.

use crate::common::{Case, Need, User, Verdict, case};
use crate::stage::{Layer, Packed, busybox, import, layout, run, stored};
use std::collections::BTreeSet;
use std::fmt::Write as _;

pub(crate) fn cases() -> Vec<Case> {
    let busybox = || Need::Program("busybox");
    vec![
        case!(sixty_layers).needs(busybox()),
        case!(ten_thousand_files).needs(busybox()),
        case!(directories_of_paths_count),
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

/// A path brings directories along, up to 2,048 of them; they count as members do.
fn directories_of_paths_count(user: &User) -> Verdict {
    let path = format!("{}a", "d/".repeat(1000));
    let layer = Layer::default().pax("path", path.as_bytes()).file("x", "");
    let image = layout(user, "deep", vec![layer.into()], "")?;
    import(user, &image, &["deep", "--max-entries", "900"])?
        .exits(125)?
        .stdout_is("")?
        .stderr_has("the image has more than 900 members\n  hint: ")?;
    if !stored(user).is_empty() {
        return Err(format!("left: {:?}", stored(user)).into());
    }
    import(user, &image, &["deep", "--max-entries", "1100"])?.exits(0)?;
    Ok(())
}

//! What it costs to import an image, against umoci, which unpacks one.

use crate::contender::Contender;
use crate::sections::{COLUMNS, line};
use crate::table::{Bound, head};
use crate::timing::interleaved;
use crate::workplace::Workplace;
use crate::{Effort, Problem};
use std::path::Path;

const UMOCI: &str = "/usr/bin/umoci";
/// What is in the image: many small files, and some large ones.
const CONTENT: [&str; 2] = ["/usr/share/doc", "/usr/lib/python3"];

/// Makes an image of a part of the host, and imports and unpacks it in turns, each time to another place.
pub(crate) fn imports(place: &Workplace, effort: Effort) -> Result<(), Problem> {
    if !Path::new(UMOCI).exists() {
        return Ok(());
    }
    let rounds = effort.rounds.div_ceil(40);
    make(place)?;
    let home = place.home();
    let shell =
        |name: &str, script: String| Contender::new(name, Path::new("/bin/sh")).with(["-c", script.as_str()]);
    let home = home.display();
    let umoci = shell(
        "umoci unpack --rootless",
        format!("exec {UMOCI} unpack --rootless --image {home}/image:a \"$(mktemp -d -p {home})/bundle\""),
    );
    let sbx = shell(
        "sbx image import",
        format!(
            "XDG_DATA_HOME=$(mktemp -d -p {home}) exec {} image import {home}/image x",
            place.sbx().display()
        ),
    );
    head(
        &format!("Import of an image, {rounds} runs"),
        &COLUMNS.map(|column| column.replace("bwrap", "umoci")).each_ref().map(String::as_str),
    );
    let spreads = interleaved(place, &[&umoci, &sbx], rounds)?;
    line(&umoci.name, spreads[0], Some(spreads[0].median), None);
    line(&sbx.name, spreads[1], Some(spreads[0].median), Some(Bound(1.0)));
    Ok(())
}

fn make(place: &Workplace) -> Result<(), Problem> {
    let script = format!(
        "set -e; cd {}; {UMOCI} init --layout image; {UMOCI} new --image image:a; {UMOCI} unpack --rootless --image image:a made
         cp -rL {} made/rootfs 2>/dev/null || true; {UMOCI} repack --image image:a made",
        place.home().display(),
        CONTENT.join(" ")
    );
    let made = place.command(Path::new("/bin/sh")).args(["-c", &script]).status();
    match made {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("cannot make the image: {other:?}")),
    }
}

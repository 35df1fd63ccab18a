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
    many(place, effort)
}

/// Writes a layout: a directory with so many empty files of another owner than root, and busybox.
const MANY: &str = r#"
import gzip, hashlib, json, os, sys
top, count = sys.argv[1], int(sys.argv[2])
def header(name, mode, uid, size):
    text = b'%-100s%07o\0%07o\0%07o\0%011o\0%011o\0        0' % (name, mode, uid, 0, size, 0)
    text = (text.replace(b' ' * (100 - len(name)), b'\0' * (100 - len(name)), 1) + b'\0' * 100 + b'ustar\00000').ljust(512, b'\0')
    return text[:148] + b'%06o\0 ' % sum(text) + text[156:]
blobs = os.path.join(top, 'blobs', 'sha256')
os.makedirs(blobs)
plain, packed = hashlib.sha256(), os.path.join(top, 'layer')
with gzip.open(packed, 'wb', 1) as out:
    def write(data):
        plain.update(data)
        out.write(data)
    program = open('/usr/bin/busybox', 'rb').read()
    write(header(b'bin/busybox', 0o755, 0, len(program)) + program.ljust(-(-len(program) // 512) * 512, b'\0'))
    for number in range(count):
        write(header(b'many/%07d' % number, 0o644, 33, 0))
    write(bytes(1024))
def put(data, kind):
    digest = hashlib.sha256(data).hexdigest()
    open(os.path.join(blobs, digest), 'wb').write(data)
    return {'mediaType': 'application/vnd.oci.image.' + kind, 'digest': 'sha256:' + digest, 'size': len(data)}
layer = put(open(packed, 'rb').read(), 'layer.v1.tar+gzip')
config = {'architecture': 'amd64', 'os': 'linux', 'rootfs': {'type': 'layers', 'diff_ids': ['sha256:' + plain.hexdigest()]}}
config = put(json.dumps(config).encode(), 'config.v1+json')
manifest = put(json.dumps({'schemaVersion': 2, 'config': config, 'layers': [layer]}).encode(), 'manifest.v1+json')
json.dump({'schemaVersion': 2, 'manifests': [manifest]}, open(os.path.join(top, 'index.json'), 'w'))
json.dump({'imageLayoutVersion': '1.0.0'}, open(os.path.join(top, 'oci-layout'), 'w'))
"#;

/// Many files in one layer: imported, run, and more of them than there may be.
fn many(place: &Workplace, effort: Effort) -> Result<(), Problem> {
    const COUNTS: [u32; 3] = [10_000, 100_000, 1_000_000];
    let rounds = effort.rounds.div_ceil(100);
    let home = place.home();
    for count in COUNTS {
        let mut python = place.command(Path::new("/usr/bin/python3"));
        python.args(["-c", MANY]).arg(home.join(count.to_string())).arg(count.to_string());
        match python.status() {
            Ok(status) if status.success() => {}
            other => return Err(format!("cannot make the image of {count} files: {other:?}")),
        }
    }
    let program = place.sbx();
    let (home, sbx) = (home.display(), program.display());
    let contender = |name: String, script: String| {
        let script = format!("cd {home} && ulimit -v 262144 && {script}");
        Contender::new(&name, Path::new("/bin/sh")).with(["-c", script.as_str()])
    };
    let import = |count: u32| {
        let script = format!(
            "export XDG_DATA_HOME=$(mktemp -d -p {home}) && {sbx} image import {home}/{count} x >/dev/null && \
             [ \"$({sbx} --quiet --cwd none --root image:x -- /bin/busybox find /many -type f | wc -l)\" = {count} ]"
        );
        contender(format!("{count} files, imported and counted inside"), script)
    };
    let refused = contender(
        format!("{} files, refused", COUNTS[2]),
        format!(
            "export XDG_DATA_HOME=$(mktemp -d -p {home}) && ! {sbx} image import {home}/{} x 2>said && \
             grep -q 'more than 500000 members' said && [ -z \"$(ls -A $XDG_DATA_HOME/sbx/images/layers)\" ]",
            COUNTS[2]
        ),
    );
    head(
        &format!("Many files in a layer, in 256 MiB of memory, {rounds} runs"),
        &COLUMNS.map(|column| column.replace("bwrap", "10,000")).each_ref().map(String::as_str),
    );
    let (few, many) = (import(COUNTS[0]), import(COUNTS[1]));
    let spreads = interleaved(place, &[&few, &many, &refused], rounds)?;
    let base = Some(spreads[0].median);
    line(&few.name, spreads[0], base, None);
    line(&many.name, spreads[1], base, Some(Bound(14.0)));
    line(&refused.name, spreads[2], base, Some(Bound(80.0)));
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

//! What the cases share: layers with any members, also such as no tool writes, and layouts of them.

use crate::common::{Output, User, output};
use libtest_mimic::Failed;
use sbx::image::Digest;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use tar::{EntryType, Header};

/// A layer's archive in the making.
#[derive(Default)]
pub(crate) struct Layer(Vec<u8>);

impl Layer {
    /// Adds a member; the name is taken as it is.
    pub(crate) fn member(
        mut self,
        kind: EntryType,
        name: &[u8],
        target: &[u8],
        mode: u32,
        data: &[u8],
    ) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(data.len() as u64);
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name);
        old.linkname[..target.len()].copy_from_slice(target);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, data: &str) -> Self {
        self.member(EntryType::Regular, name.as_bytes(), b"", 0o644, data.as_bytes())
    }

    pub(crate) fn dir(self, name: &str, mode: u32) -> Self {
        self.member(EntryType::Directory, name.as_bytes(), b"", mode, b"")
    }

    pub(crate) fn link(self, name: &str, target: &[u8]) -> Self {
        self.member(EntryType::Symlink, name.as_bytes(), target, 0o777, b"")
    }

    pub(crate) fn hard(self, name: &str, target: &[u8]) -> Self {
        self.member(EntryType::Link, name.as_bytes(), target, 0o644, b"")
    }

    /// A pax header for the next member.
    pub(crate) fn pax(self, key: &str, value: &[u8]) -> Self {
        let body = key.len() + value.len() + 3;
        let length =
            (1..9).map(|digits| body + digits).find(|all| all.to_string().len() + body == *all).unwrap_or(0);
        let mut record = format!("{length} {key}=").into_bytes();
        record.extend_from_slice(value);
        record.push(b'\n');
        self.member(EntryType::XHeader, b"pax", b"", 0o644, &record)
    }

    /// The archive, ended.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let _ = out.write_all(bytes);
    out.finish().unwrap_or_default()
}

/// A frame of zstd with blocks that are not compressed (RFC 8878), in front of it one that is to be skipped.
pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut out = b"\x50\x2a\x4d\x18\x03\0\0\0abc\x28\xb5\x2f\xfd\x00\x58".to_vec();
    let mut chunks = bytes.chunks(100_000).peekable();
    while let Some(chunk) = chunks.next() {
        let header = (chunk.len() as u32) << 3 | u32::from(chunks.peek().is_none());
        out.extend_from_slice(&header.to_le_bytes()[..3]);
        out.extend_from_slice(chunk);
    }
    out
}

/// A layer as a layout has it: the blob, and the digest of what is in it.
pub(crate) struct Packed {
    pub(crate) blob: Vec<u8>,
    pub(crate) diff_id: Digest,
}

impl From<Layer> for Packed {
    fn from(layer: Layer) -> Self {
        let blob = layer.end();
        Self { diff_id: Digest::of(&blob), blob }
    }
}

/// Writes a layout with one image for this machine; `config` are the fields of its `config`.
pub(crate) fn layout(user: &User, name: &str, layers: Vec<Packed>, config: &str) -> Result<PathBuf, Failed> {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    layout_for(user, name, layers, config, architecture)
}

pub(crate) fn layout_for(
    user: &User,
    name: &str,
    layers: Vec<Packed>,
    config: &str,
    architecture: &str,
) -> Result<PathBuf, Failed> {
    let top = user.mkdir(name)?;
    user.put(top.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let blob = |bytes: &[u8], kind: &str| -> Result<String, Failed> {
        let digest = Digest::of(bytes);
        user.put(top.join("blobs/sha256").join(digest.hex()), bytes)?;
        let size = bytes.len();
        Ok(format!(r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{digest}","size":{size}}}"#))
    };
    let mut descriptors = Vec::new();
    let mut diff_ids = Vec::new();
    for layer in layers {
        descriptors.push(blob(&layer.blob, "layer.v1.tar")?);
        diff_ids.push(format!("\"{}\"", layer.diff_id));
    }
    let config = format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{{{config}}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    );
    let config = blob(config.as_bytes(), "config.v1+json")?;
    let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, descriptors.join(","));
    let manifest = blob(manifest.as_bytes(), "manifest.v1+json")?;
    user.put(top.join("index.json"), format!(r#"{{"schemaVersion":2,"manifests":[{manifest}]}}"#))?;
    Ok(top)
}

/// `sbx image` with these words.
pub(crate) fn image(user: &User, words: &[&OsStr]) -> Result<Output, Failed> {
    output(user.sbx().arg("image").args(words))
}

pub(crate) fn import(user: &User, path: &std::path::Path, more: &[&str]) -> Result<Output, Failed> {
    let more = more.iter().map(OsStr::new);
    let words: Vec<&OsStr> = [OsStr::new("import"), path.as_os_str()].into_iter().chain(more).collect();
    image(user, &words)
}

/// The directories of the layers in the store.
pub(crate) fn stored(user: &User) -> Vec<PathBuf> {
    let layers = user.home().join(".local/share/sbx/images/layers");
    let entries = std::fs::read_dir(layers).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries.map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// The tree of the only layer in the store.
pub(crate) fn tree(user: &User) -> Result<PathBuf, Failed> {
    match &stored(user)[..] {
        [one] => Ok(one.join("tree")),
        other => Err(format!("not one layer but {other:?}").into()),
    }
}

/// A path in the store by bytes.
pub(crate) fn below(tree: &std::path::Path, name: &[u8]) -> PathBuf {
    tree.join(OsStr::from_bytes(name))
}

/// `sbx --root image:NAME` with these words.
pub(crate) fn run(user: &User, name: &str, words: &[&str]) -> Result<Output, Failed> {
    output(user.sbx().args(["--quiet", "--root", &format!("image:{name}")]).args(words))
}

/// A layer with a shell and its programs, and files of `/etc`.
pub(crate) fn busybox() -> Result<Layer, Failed> {
    let program = std::fs::read("/usr/bin/busybox")?;
    let mut layer = Layer::default().dir("bin/", 0o755).dir("etc/", 0o755);
    layer = layer.member(EntryType::Regular, b"bin/busybox", b"", 0o755, &program);
    for name in
        ["sh", "cat", "id", "env", "pwd", "stat", "find", "sort", "echo", "sleep", "rm", "mkdir", "touch"]
    {
        layer = layer.link(&format!("bin/{name}"), b"busybox");
    }
    Ok(layer.file("etc/passwd", "root:x:0:0::/root:/bin/sh\nsomebody:x:4242:4343::/:/bin/sh\n"))
}

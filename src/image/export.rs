//! Writes an image as an OCI image layout, with a kept writable layer on top if one is wanted. Layers are packed anew, from their
//! trees and what their owners files say; the same image gives the same bytes.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use nix::fcntl::FlockArg;
use serde_json::{Value, json};

use super::digest::{Digest, Hashing};
use super::error::{ImageError, io_words};
use super::owners::{self, Owner};
use super::pack::{self, Owners};
use super::spec::{CONFIG, Descriptor, LAYER, MANIFEST, Manifest, REF_NAME};
use super::store::{self, Record, Store};

/// Who made the topmost layer, in the image's history.
const MAKER: &str = "sbx image export";

/// Whose the files of a writable layer are in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayersOwners {
    /// Those that the image says: all of them are the caller's here.
    Images,
    /// Those that they have here, where uid 0 is the caller and every id of theirs is mapped: sandboxes with subordinate ids have
    /// written them.
    Files,
}

/// Writes an image to a directory that is made. `layer` is the directory of a kept writable layer.
///
/// # Errors
/// [`ImageError`]: what was written of it is gone again.
pub fn export(
    store: &Store,
    typed: &str,
    path: &Path,
    layer: Option<(&Path, LayersOwners)>,
) -> Result<(), ImageError> {
    let record = store.find(typed)?;
    let _held = store.hold(&record.layers)?;
    // Its sandbox, if one runs, is writing there.
    let _locked = layer.map(|(layer, _)| lock_layer(layer)).transpose()?;
    DirBuilder::new().mode(0o755).create(path).map_err(|error| ImageError::export(path, io_words(&error)))?;
    let written = Layout { path }.write(store, &record, layer);
    if written.is_err() {
        // Nothing but what was just made.
        let _ = fs::remove_dir_all(path);
    }
    written
}

fn lock_layer(layer: &Path) -> Result<nix::fcntl::Flock<std::os::fd::OwnedFd>, ImageError> {
    store::lock(layer, FlockArg::LockExclusiveNonblock).map_err(|errno| match errno {
        nix::errno::Errno::EWOULDBLOCK => ImageError::Export {
            path: layer.to_owned(),
            why: "a sandbox is writing in this layer".to_owned(),
            hint: Some("end the sandbox first".to_owned()),
        },
        errno => ImageError::export(layer, crate::diag::errno_words(errno)),
    })
}

/// A layout in the making.
struct Layout<'a> {
    path: &'a Path,
}

impl Layout<'_> {
    fn wrong(&self, error: &io::Error) -> ImageError {
        ImageError::export(self.path, io_words(error))
    }

    fn write(
        &self,
        store: &Store,
        record: &Record,
        layer: Option<(&Path, LayersOwners)>,
    ) -> Result<(), ImageError> {
        let blobs = self.path.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(|error| self.wrong(&error))?;
        let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
        // Whose a file is that the writable layer has changed.
        let mut known = BTreeMap::new();
        for below in &record.layers {
            let place = store.layer(below)?;
            let owners: BTreeMap<_, _> = owners::owners(&place)
                .and_then(|owners| {
                    owners.map(|owner| owner.map(|owner| (owner.path.clone(), owner))).collect()
                })
                .map_err(|error| self.wrong(&error))?;
            let (descriptor, diff_id) = self.layer(&place.join("tree"), Owners::Noted(&owners))?;
            layers.push(descriptor);
            diff_ids.push(diff_id.to_string());
            known.extend(owners);
        }
        if let Some((layer, whose)) = layer {
            let noted = known.into_iter().map(|(path, owner)| (path, as_written(owner))).collect();
            let owners = match whose {
                LayersOwners::Images => Owners::Noted(&noted),
                LayersOwners::Files => Owners::Files,
            };
            let (descriptor, diff_id) = self.layer(&layer.join("upper"), owners)?;
            layers.push(descriptor);
            diff_ids.push(diff_id.to_string());
        }
        let config = config(record, &diff_ids, layer.is_some());
        let config = self.blob(&json_bytes(&config), CONFIG)?;
        let media_type = MANIFEST.to_owned();
        let manifest = Manifest { schema_version: 2, media_type, config, layers };
        let manifest = serde_json::to_value(&manifest).unwrap_or_default();
        let mut manifest = self.blob(&json_bytes(&manifest), MANIFEST)?;
        let tag = super::name::split(&record.name).1.unwrap_or_default();
        manifest.annotations = Some([(REF_NAME.to_owned(), tag.to_owned())].into());
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        self.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        self.file("index.json", &json_bytes(&index))
    }

    fn file(&self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        fs::write(self.path.join(name), bytes).map_err(|error| self.wrong(&error))
    }

    fn blob(&self, bytes: &[u8], media_type: &str) -> Result<Descriptor, ImageError> {
        let digest = Digest::of(bytes);
        self.file(&format!("blobs/sha256/{}", digest.hex()), bytes)?;
        Ok(descriptor(&digest, bytes.len() as u64, media_type))
    }

    /// Packs a tree: its blob, and the digest of the archive in it.
    fn layer(&self, tree: &Path, owners: Owners<'_>) -> Result<(Descriptor, Digest), ImageError> {
        let new = self.path.join("blobs/sha256/.new");
        let packed = pack_to(&new, tree, owners).map_err(|error| self.wrong(&error))?;
        let (digest, size, diff_id) = packed;
        let place = self.path.join("blobs/sha256").join(digest.hex());
        fs::rename(&new, place).map_err(|error| self.wrong(&error))?;
        Ok((descriptor(&digest, size, LAYER), diff_id))
    }
}

fn pack_to(new: &Path, tree: &Path, owners: Owners<'_>) -> io::Result<(Digest, u64, Digest)> {
    let blob = Hashing::new(io::BufWriter::new(File::create(new)?));
    let plain = Hashing::new(GzEncoder::new(blob, Compression::fast()));
    let top = store::open(tree)?;
    let plain = pack::pack(plain, &top, owners)?;
    let (encoder, diff_id) = plain.finish();
    let mut blob = encoder.finish()?;
    blob.flush()?;
    let size = blob.bytes;
    Ok((blob.finish().1, size, diff_id))
}

/// What the kernel leaves of a file's marks when somebody writes to it.
fn as_written(owner: Owner) -> Owner {
    Owner { mode: owner.mode & 0o1777, device: None, xattrs: Vec::new(), ..owner }
}

fn descriptor(digest: &Digest, size: u64, media_type: &str) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_string(),
        size,
        platform: None,
        annotations: None,
    }
}

/// The configuration, with the digests of the layers as they are packed now.
fn config(record: &Record, diff_ids: &[String], is_new: bool) -> Value {
    let mut config = record.config.clone();
    config["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
    if is_new && let Some(history) = config.get_mut("history").and_then(Value::as_array_mut) {
        history.push(json!({ "created_by": MAKER }));
    }
    config
}

fn json_bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// The writable layer of that name, of those that are kept in a directory.
///
/// # Errors
/// Its name is none, or there is no such layer.
pub fn kept_layer(layers: Option<&Path>, name: &str) -> Result<PathBuf, ImageError> {
    let layer = layers.ok_or(ImageError::NoHome)?.join(name);
    let is_name = Path::new(name).file_name() == Some(name.as_ref()) && !name.starts_with('.');
    if is_name && layer.join("upper").is_dir() {
        return Ok(layer);
    }
    let (why, hint) = match is_name && layer.join("fuse-overlayfs").is_dir() {
        true => (
            "what fuse-overlayfs has written can't be put into an image",
            "write the layer by the kernel's overlayfs",
        ),
        false => (
            "there is no kept writable layer of that name",
            "run with --set filesystem.writable=layer:NAME to have one",
        ),
    };
    Err(ImageError::Export { path: layer, why: why.to_owned(), hint: Some(hint.to_owned()) })
}

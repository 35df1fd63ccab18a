//! Finds the image in a layout or an archive: its configuration, whose digest is right, and where its layers are.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::blobs::{Blob, Blobs};
use super::digest::Digest;
use super::error::ImageError;
use super::spec::{Config, DOCKER_INDEX, Descriptor, INDEX, Index, Manifest, Platform, Saved};
use crate::diag::{escape, quote};

/// Indexes in indexes, and images in them all: more than anybody has.
const DEPTH: usize = 4;
const MANIFESTS: usize = 1000;

/// An image that can be imported.
#[derive(Debug)]
pub(super) struct Found {
    /// The name that it has there.
    pub(super) name: Option<String>,
    /// Its manifest's digest, or its configuration's where there is no manifest.
    pub(super) digest: Digest,
    /// Its configuration as it is there.
    pub(super) config: Vec<u8>,
    /// Lowest first.
    pub(super) layers: Vec<Packed>,
}

/// A layer that is to be unpacked.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) blob: Blob,
    /// The digest of the blob, where there is one.
    pub(super) digest: Option<Digest>,
    /// That of the archive in it.
    pub(super) diff_id: Digest,
}

/// Finds the one image, or the one that is called `wanted`.
pub(super) fn find(blobs: &Blobs, wanted: Option<&str>) -> Result<Found, ImageError> {
    let wrong = |why: String| ImageError::source(&blobs.path, why);
    if blobs.get("oci-layout")?.is_some() {
        let index =
            blobs.document("index.json")?.ok_or_else(|| wrong("its index.json is missing".to_owned()))?;
        let index: Index = parse(blobs, "index.json", &index)?;
        return of_layout(blobs, index, wanted);
    }
    match blobs.document("manifest.json")? {
        Some(bytes) => of_saved(blobs, parse(blobs, "manifest.json", &bytes)?, wanted),
        None => Err(ImageError::Source {
            path: blobs.path.clone(),
            why: "there is neither an `oci-layout` nor a `manifest.json` in it".to_owned(),
            hint: Some("name an OCI image layout, or an archive that `docker save` wrote".to_owned()),
        }),
    }
}

fn parse<T: DeserializeOwned>(blobs: &Blobs, name: &str, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| {
        ImageError::source(&blobs.path, format!("its file {}: {}", quote(name), escape(error.to_string())))
    })
}

fn digest(blobs: &Blobs, text: &str) -> Result<Digest, ImageError> {
    Digest::parse(text).map_err(|why| ImageError::source(&blobs.path, why))
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A document whose digest is the one that it is called by.
fn verified(blobs: &Blobs, descriptor: &Descriptor) -> Result<(Digest, Vec<u8>), ImageError> {
    let digest = digest(blobs, &descriptor.digest)?;
    let name = blob_name(&digest);
    let bytes = blobs.document(&name)?;
    let bytes = bytes
        .ok_or_else(|| ImageError::source(&blobs.path, format!("its file {} is missing", quote(&name))))?;
    check(blobs, &name, &digest, &bytes)?;
    Ok((digest, bytes))
}

fn check(blobs: &Blobs, name: &str, digest: &Digest, bytes: &[u8]) -> Result<(), ImageError> {
    let found = Digest::of(bytes);
    if found == *digest {
        return Ok(());
    }
    Err(ImageError::source(&blobs.path, format!("its file {} has another digest: {found}", quote(name))))
}

/// An image of a layout that may be the one.
struct Candidate {
    name: Option<String>,
    digest: Digest,
    manifest: Manifest,
    config: Vec<u8>,
    parsed: Config,
}

fn of_layout(blobs: &Blobs, index: Index, wanted: Option<&str>) -> Result<Found, ImageError> {
    let mut manifests = Vec::new();
    flatten(blobs, index, None, 0, &mut manifests)?;
    // A layout calls an image `13` as well as `debian:13`.
    let tag = wanted.and_then(|name| super::name::split(name).1);
    let is_wanted =
        |name: &Option<String>| name.is_some() && (name.as_deref() == wanted || name.as_deref() == tag);
    if manifests.iter().any(|(_, name)| is_wanted(name)) {
        manifests.retain(|(_, name)| is_wanted(name));
    }
    let here = Platform::here();
    let (mut there, mut fitting) = (Vec::new(), BTreeMap::new());
    for (descriptor, name) in manifests {
        let said = descriptor.platform.clone();
        if said.as_ref().is_some_and(|platform| *platform != here) {
            there.extend(said.map(|platform| platform.to_string()));
            continue;
        }
        let candidate = candidate(blobs, &descriptor, name)?;
        if candidate.parsed.platform == here {
            fitting.insert(candidate.digest.clone(), candidate);
        } else {
            there.push(candidate.parsed.platform.to_string());
        }
    }
    let names: Vec<String> = fitting.values().filter_map(|one| one.name.as_deref().map(quote)).collect();
    match fitting.len() {
        1 => {}
        0 => return Err(none_fits(blobs, &here, there)),
        many => {
            return Err(ImageError::Source {
                path: blobs.path.clone(),
                why: format!("there are {many} images in it: {}", names.join(", ")),
                hint: Some("name the one to import: sbx image import PATH NAME:TAG".to_owned()),
            });
        }
    }
    let Some((_, candidate)) = fitting.pop_first() else { return Err(none_fits(blobs, &here, Vec::new())) };
    with_layers(blobs, candidate)
}

fn none_fits(blobs: &Blobs, here: &Platform, mut there: Vec<String>) -> ImageError {
    there.sort_unstable();
    there.dedup();
    let there = if there.is_empty() { "none at all".to_owned() } else { there.join(", ") };
    ImageError::source(&blobs.path, format!("there is no image for {here} in it, but {there}"))
}

/// The manifests that an index leads to; one in a further index has the name of that.
fn flatten(
    blobs: &Blobs,
    index: Index,
    name: Option<&str>,
    depth: usize,
    found: &mut Vec<(Descriptor, Option<String>)>,
) -> Result<(), ImageError> {
    for descriptor in index.manifests {
        if depth == DEPTH || found.len() == MANIFESTS {
            return Err(ImageError::source(&blobs.path, "its indexes have no end"));
        }
        let name = descriptor.ref_name().or(name).map(str::to_owned);
        if descriptor.media_type == INDEX || descriptor.media_type == DOCKER_INDEX {
            let (_, bytes) = verified(blobs, &descriptor)?;
            let below = parse(blobs, &descriptor.digest, &bytes)?;
            flatten(blobs, below, name.as_deref(), depth + 1, found)?;
        } else {
            found.push((descriptor, name));
        }
    }
    Ok(())
}

fn candidate(blobs: &Blobs, descriptor: &Descriptor, name: Option<String>) -> Result<Candidate, ImageError> {
    let (digest, bytes) = verified(blobs, descriptor)?;
    let manifest: Manifest = parse(blobs, &descriptor.digest, &bytes)?;
    if !manifest.config.media_type.contains("image.config")
        && !manifest.config.media_type.contains("container.image")
    {
        let why = format!("{} is not an image's configuration", quote(&manifest.config.media_type));
        return Err(ImageError::source(&blobs.path, why));
    }
    let (_, config) = verified(blobs, &manifest.config)?;
    let parsed = parse(blobs, &manifest.config.digest, &config)?;
    Ok(Candidate { name, digest, manifest, config, parsed })
}

fn with_layers(blobs: &Blobs, candidate: Candidate) -> Result<Found, ImageError> {
    let Candidate { name, digest: own, manifest, config, parsed } = candidate;
    let diff_ids = &parsed.rootfs.diff_ids;
    same_number(blobs, manifest.layers.len(), diff_ids.len())?;
    let mut layers = Vec::new();
    for (descriptor, diff_id) in manifest.layers.iter().zip(diff_ids) {
        if descriptor.media_type.contains("encrypted") || !descriptor.media_type.contains(".tar") {
            let why = format!("a layer of the type {} can't be unpacked", quote(&descriptor.media_type));
            return Err(ImageError::source(&blobs.path, why));
        }
        let blob_digest = digest(blobs, &descriptor.digest)?;
        let blob = blobs.need(&blob_name(&blob_digest))?;
        if blob.left() != descriptor.size {
            let why = format!("its layer {blob_digest} has {} bytes, not {}", blob.left(), descriptor.size);
            return Err(ImageError::source(&blobs.path, why));
        }
        layers.push(Packed { blob, digest: Some(blob_digest), diff_id: digest(blobs, diff_id)? });
    }
    Ok(Found { name, digest: own, config, layers })
}

fn same_number(blobs: &Blobs, layers: usize, diff_ids: usize) -> Result<(), ImageError> {
    if layers == diff_ids {
        return Ok(());
    }
    let why = format!("its manifest has {layers} layers, and its configuration {diff_ids}");
    Err(ImageError::source(&blobs.path, why))
}

/// The image of an archive that `docker save` wrote.
fn of_saved(blobs: &Blobs, mut saved: Vec<Saved>, wanted: Option<&str>) -> Result<Found, ImageError> {
    let tags = |image: &Saved| image.repo_tags.clone().unwrap_or_default();
    if saved.len() > 1 {
        let all: Vec<String> = saved.iter().flat_map(tags).map(quote).collect();
        saved.retain(|image| wanted.is_some_and(|wanted| tags(image).iter().any(|tag| tag == wanted)));
        if saved.len() != 1 {
            return Err(ImageError::Source {
                path: blobs.path.clone(),
                why: format!("there are several images in it: {}", all.join(", ")),
                hint: Some("name the one to import: sbx image import PATH NAME:TAG".to_owned()),
            });
        }
    }
    let Some(image) = saved.pop() else {
        return Err(ImageError::source(&blobs.path, "there is no image in it"));
    };
    let missing = || ImageError::source(&blobs.path, format!("its file {} is missing", quote(&image.config)));
    let config = blobs.document(&image.config)?.ok_or_else(missing)?;
    let stem = image.config.rsplit('/').next().unwrap_or_default();
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    let own = Digest::of_hex(stem).ok_or_else(|| {
        ImageError::source(&blobs.path, format!("{} is not called by a digest", quote(&image.config)))
    })?;
    check(blobs, &image.config, &own, &config)?;
    let parsed: Config = parse(blobs, &image.config, &config)?;
    let here = Platform::here();
    if parsed.platform != here {
        return Err(none_fits(blobs, &here, vec![parsed.platform.to_string()]));
    }
    same_number(blobs, image.layers.len(), parsed.rootfs.diff_ids.len())?;
    let mut layers = Vec::new();
    for (name, diff_id) in image.layers.iter().zip(&parsed.rootfs.diff_ids) {
        layers.push(Packed { blob: blobs.need(name)?, digest: None, diff_id: digest(blobs, diff_id)? });
    }
    Ok(Found { name: tags(&image).into_iter().next(), digest: own, config, layers })
}

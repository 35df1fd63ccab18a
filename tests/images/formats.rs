//! The ways in which images come: directories and archives, of OCI's and of docker's making, with any compression.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::stage::{Layer, Packed, gzip, import, layout, stored, zstd};
use sbx::image::Digest;
use std::fs;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(compressions),
        case!(archive_of_a_layout).needs(Need::Program("tar")),
        case!(saved_by_docker).needs(Need::Program("tar")),
        case!(layers_are_shared),
        case!(progress).needs(Need::Program("script")),
    ]
}

/// On a terminal it is shown how far it is, and gone when the answer comes; nowhere else, and not when nobody wants it.
fn progress(user: &User) -> Verdict {
    let layers = || vec![Layer::default().file("a", "x").into(), Layer::default().file("b", "x").into()];
    let image = layout(user, "image", layers(), "")?;
    let on_terminal = |options: &str| {
        let line = format!("{} image import {options} {} shown", user.sbx_path().display(), image.display());
        output(user.command("script").args(["-qec", &line, "/dev/null"]))
    };
    let shown = on_terminal("")?;
    shown.exits(0)?.stdout_has("sbx: layer 1 of 2: 100 % of ")?.stdout_has("sbx: layer 2 of 2: 100 % of ")?;
    shown.check(shown.text().ends_with("\r\u{1b}[Kshown:latest\r\n"), || {
        "the name alone at the end".to_owned()
    })?;
    on_terminal("--quiet")?.exits(0)?.stdout_lacks("layer")?;
    import(user, &image, &["shown"])?.exits(0)?.stdout_is("shown:latest\n")?.stderr_is("")?;
    Ok(())
}

fn compressions(user: &User) -> Verdict {
    let plain = Layer::default().file("a", &"some text\n".repeat(50_000)).end();
    let diff_id = Digest::of(&plain);
    // Two members of gzip, and two frames of zstd, are one stream.
    let (front, back) = plain.split_at(100_000);
    let blobs = [
        plain.clone(),
        gzip(&plain),
        zstd(&plain),
        [gzip(front), gzip(back)].concat(),
        [zstd(front), zstd(back)].concat(),
    ];
    for (index, blob) in blobs.into_iter().enumerate() {
        let image =
            layout(user, &format!("image{index}"), vec![Packed { blob, diff_id: diff_id.clone() }], "")?;
        import(user, &image, &["x"])?.exits(0)?.stderr_is("")?;
        let tree = crate::stage::tree(user)?;
        if fs::read(tree.join("a"))?.len() != 500_000 {
            return Err("a file of another length".into());
        }
        output(user.sbx().args(["image", "rm", "x"]))?.exits(0)?;
        output(user.sbx().args(["image", "gc"]))?.exits(0)?;
    }
    Ok(())
}

fn archive_of_a_layout(user: &User) -> Verdict {
    let image = layout(user, "image", vec![Layer::default().file("a", "x").into()], "")?;
    let archive = user.dir().join("mine.tar");
    output(user.command("tar").arg("-C").arg(image).arg("-cf").arg(&archive).arg("."))?.exits(0)?;
    import(user, &archive, &[])?.exits(0)?.stdout_is("mine:latest\n")?;
    Ok(())
}

/// As `docker save` before version 25 writes it.
fn saved_by_docker(user: &User) -> Verdict {
    let layers = [Layer::default().file("a", "x").end(), Layer::default().file("b", "x").end()];
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{{"Cmd":null}},"rootfs":{{"type":"layers","diff_ids":["{}","{}"]}}}}"#,
        Digest::of(&layers[0]),
        Digest::of(&layers[1])
    );
    let name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    let place = user.mkdir("saved")?;
    user.put(place.join(&name), &config)?;
    for (index, layer) in layers.iter().enumerate() {
        user.put(place.join(format!("{index}/layer.tar")), layer)?;
    }
    let manifest = format!(
        r#"[{{"Config":"{name}","RepoTags":["team/tool:1.2"],"Layers":["0/layer.tar","1/layer.tar"]}}]"#
    );
    user.put(place.join("manifest.json"), manifest)?;
    let archive = user.dir().join("saved.tar");
    let pack = || -> Verdict {
        let mut tar = user.command("tar");
        output(tar.arg("-C").arg(&place).arg("-cf").arg(&archive).args([&name, "0", "1", "manifest.json"]))?
            .exits(0)?;
        Ok(())
    };
    pack()?;
    import(user, &archive, &[])?.exits(0)?.stdout_is("team/tool:1.2\n")?;
    // The layers have no digest but that of what is in them.
    user.put(place.join("1/layer.tar"), Layer::default().file("c", "x").end())?;
    pack()?;
    output(user.sbx().args(["image", "rm", "team/tool:1.2"]))?.exits(0)?;
    output(user.sbx().args(["image", "gc"]))?.exits(0)?;
    import(user, &archive, &[])?.exits(125)?.stderr_has("its digest is")?;
    Ok(())
}

/// A layer of two images is there once; one that leaves out a directory is another one on other layers.
fn layers_are_shared(user: &User) -> Verdict {
    let base = || -> Packed { Layer::default().dir("d", 0o700).dir("d/e", 0o711).file("d/e/old", "").into() };
    let other = || -> Packed { Layer::default().dir("d", 0o750).into() };
    let same = || -> Packed { Layer::default().file("whole", "").into() };
    let part = || -> Packed { Layer::default().file("d/e/new", "").into() };
    for (name, layers) in [
        ("one", vec![base(), same(), part()]),
        ("two", vec![base(), same(), part()]),
        ("three", vec![other(), same(), part()]),
    ] {
        let image = layout(user, name, layers, "")?;
        import(user, &image, &[])?.exits(0)?;
    }
    let mut modes: Vec<String> = Vec::new();
    for layer in stored(user) {
        let new = layer.join("tree/d/e/new");
        if fs::symlink_metadata(&new).is_ok() {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &str| {
                fs::metadata(layer.join("tree").join(path))
                    .map_or(0, |data| data.permissions().mode() & 0o7777)
            };
            modes.push(format!("{:o} {:o}", mode("d"), mode("d/e")));
        }
    }
    modes.sort();
    // Below `three` nobody has said anything about `d/e`.
    if modes != ["700 711", "750 755"] || stored(user).len() != 5 {
        return Err(format!("{modes:?} in {} layers", stored(user).len()).into());
    }
    Ok(())
}

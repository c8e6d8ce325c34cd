//! What `--model` was given in place of an ONNX file, and the cure. Pure.

use std::path::Path;

/// The models that scripts/get-model fetches.
pub(super) const FETCHED: [&str; 5] = ["yolov5n", "yolov5s", "yolov5m", "yolov5l", "yolov5x"];
/// Bytes of a file's start that show its format.
pub(super) const START: u64 = 64;

/// Returns the cure if a file of this name is missing: `fetched` are the models that are there.
pub(super) fn missing(name: &Path, fetched: &[impl AsRef<Path>]) -> Option<String> {
    let stem = name.file_stem()?.to_str()?;
    let same = |file: &&Path| file.file_stem().is_some_and(|known| known == stem);
    if let Some(file) = fetched.iter().map(AsRef::as_ref).find(same) {
        return Some(format!("did you mean --model {}?", file.display()));
    }
    if FETCHED.contains(&stem) {
        return Some(format!(
            "scripts/get-model {stem} fetches it to models/{stem}.onnx"
        ));
    }
    let known = FETCHED
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(known, stem), known));
    match known.min() {
        Some((1, known)) => Some(format!(
            "did you mean {known}? scripts/get-model {known} fetches it"
        )),
        _ if is_checkpoint(name) => Some(export(name)),
        _ => None,
    }
}

/// Returns the cure if a file is of another format than ONNX; `start` are its first [`START`] bytes.
pub(super) fn format(name: &Path, start: &[u8]) -> Option<String> {
    let extension = name.extension().and_then(|extension| extension.to_str());
    let is = |mark: &[u8]| start.starts_with(mark);
    // An ONNX file begins with the field of its version: what is wrong with this one is in it.
    if is(b"\x08") {
        return None;
    }
    if start.is_empty() {
        return Some("the file is empty; download or export it again".to_owned());
    }
    // A checkpoint is a ZIP file, or, from before PyTorch 1.6, a Python pickle.
    if is(b"PK\x03\x04") || is(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19") || is_checkpoint(name)
    {
        return Some(export(name));
    }
    if is(b"version https://git-lfs") {
        return Some(
            "the file is a pointer of Git LFS and not the model; git lfs pull fetches that"
                .to_owned(),
        );
    }
    let other = match extension.unwrap_or_default() {
        "engine" | "trt" | "plan" => "a TensorRT engine",
        "tflite" => "a TensorFlow Lite model",
        "pb" | "h5" | "keras" => "a TensorFlow model",
        "xml" | "bin" => "an OpenVINO model",
        "mlmodel" | "mlpackage" => "a Core ML model",
        "weights" | "cfg" => "a Darknet model",
        _ if start.trim_ascii_start().starts_with(b"<") => {
            let page = "the file is a web page and not a model; download the file itself";
            return Some(page.to_owned());
        }
        _ => return None,
    };
    Some(format!(
        "the file is {other}; export the checkpoint it came from to ONNX ({EXPORT})"
    ))
}

/// How a checkpoint is exported.
const EXPORT: &str = "YOLOv5: python export.py --weights FILE.pt --include onnx; others: yolo export model=FILE.pt format=onnx";

fn is_checkpoint(name: &Path) -> bool {
    let extension = name.extension().and_then(|extension| extension.to_str());
    matches!(
        extension,
        Some("pt" | "pth" | "torchscript" | "safetensors")
    )
}

fn export(name: &Path) -> String {
    let file = name.display();
    format!(
        "a PyTorch checkpoint is not ONNX: export it, and name the .onnx file that comes out (YOLOv5: python export.py \
         --weights {file} --include onnx; YOLOv8 and later: yolo export model={file} format=onnx)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_model_that_can_be_fetched_is_said_to_be() {
        let none: [&Path; 0] = [];
        let cure = |name: &str| missing(Path::new(name), &none).unwrap_or_default();
        for name in [
            "yolov5n",
            "yolov5n.onnx",
            "models/yolov5n.onnx",
            "yolov5n.pt",
        ] {
            assert!(
                cure(name).contains("scripts/get-model yolov5n fetches it"),
                "{name}"
            );
        }
        assert!(cure("yolo5n").contains("did you mean yolov5n?"));
        assert!(cure("best.pt").contains("--weights best.pt --include onnx"));
        assert_eq!(cure("yard.onnx"), "");
        let here = [Path::new("models/yolov5n.onnx")];
        let meant = missing(Path::new("yolov5n"), &here).unwrap();
        assert_eq!(meant, "did you mean --model models/yolov5n.onnx?");
    }

    #[test]
    fn a_file_of_another_format_is_named_with_the_cure() {
        for (name, start, what) in [
            (
                "best.pt",
                &b"PK\x03\x04\0\0"[..],
                "--weights best.pt --include onnx",
            ),
            ("best.onnx", b"PK\x03\x04\0\0", "PyTorch checkpoint"),
            ("old.pt", b"\x80\x02}", "export.py"),
            (
                "a.onnx",
                b"version https://git-lfs.github.com/spec/v1\n",
                "git lfs pull",
            ),
            ("a.onnx", b"\n<!DOCTYPE html>", "web page"),
            ("a.onnx", b"", "empty"),
            ("a.engine", b"ftrt", "TensorRT engine"),
            ("a.xml", b"<?xml version=\"1.0\"?>", "OpenVINO"),
            ("a.tflite", b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        ] {
            let cure = format(Path::new(name), start).unwrap();
            assert!(cure.contains(what), "{name}: {cure}");
        }
        assert_eq!(format(Path::new("a.onnx"), b"\x08\x07\x12"), None);
        assert_eq!(format(Path::new("onnx.bin"), b"\x08\x07\x12"), None);
    }
}

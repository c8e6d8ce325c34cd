//! The few messages of ONNX's protobuf schema (onnx.proto) that a model with constant outputs needs.

use half::f16;

/// `TensorProto.DataType`.
pub(crate) const FLOAT: u64 = 1;
pub(crate) const INT64: u64 = 7;
pub(crate) const FLOAT16: u64 = 10;

/// A model that gives the same whatever goes in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    graph: Vec<u8>,
    metadata: Vec<u8>,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// An input; a negative side is free.
    pub(crate) fn input(mut self, name: &str, kind: u64, shape: &[i64]) -> Self {
        message(&mut self.graph, 11, &value(name, kind, shape));
        self
    }

    /// An output with its constant values.
    pub(crate) fn output(self, name: &str, kind: u64, shape: &[i64], values: &[f32]) -> Self {
        let raw: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.constant(name, kind, shape, &raw)
    }

    /// The same in half precision.
    pub(crate) fn output_f16(self, name: &str, shape: &[i64], values: &[f16]) -> Self {
        let raw: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.constant(name, FLOAT16, shape, &raw)
    }

    /// The values times the mean of the picture: an output that differs from picture to picture, for any number of them.
    pub(crate) fn times_brightness(
        mut self,
        input: &str,
        name: &str,
        shape: &[i64],
        values: &[f32],
    ) -> Self {
        let constant = format!("{name}_constant");
        let raw: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.initializer(&constant, FLOAT, shape, &raw);
        // [n, 3, h, w] to [n, 3, h] to [n, 1, 1], which each picture's values are multiplied by.
        self.node(
            "ReduceMean",
            &[input],
            "lines",
            &[("axes", &[3][..]), ("keepdims", &[0])],
        );
        self.node(
            "ReduceMean",
            &["lines"],
            "mean",
            &[("axes", &[1, 2][..]), ("keepdims", &[1])],
        );
        self.node("Mul", &[&constant, "mean"], name, &[]);
        let free: Vec<i64> = std::iter::once(-1)
            .chain(shape[1..].iter().copied())
            .collect();
        message(&mut self.graph, 12, &value(name, FLOAT, &free));
        self
    }

    /// An entry of the model's metadata.
    pub(crate) fn metadata(mut self, key: &str, value: &str) -> Self {
        let mut entry = Vec::new();
        message(&mut entry, 1, key.as_bytes());
        message(&mut entry, 2, value.as_bytes());
        message(&mut self.metadata, 14, &entry);
        self
    }

    /// `ModelProto`: IR version 8, operator set 13.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut opset = Vec::new();
        number(&mut opset, 2, 13);
        let mut graph = self.graph.clone();
        message(&mut graph, 2, b"graph");
        let mut model = Vec::new();
        number(&mut model, 1, 8);
        message(&mut model, 8, &opset);
        message(&mut model, 7, &graph);
        model.extend(&self.metadata);
        model
    }

    /// An initializer, and a node that hands it out.
    fn constant(mut self, name: &str, kind: u64, shape: &[i64], raw: &[u8]) -> Self {
        let source = format!("{name}_values");
        self.initializer(&source, kind, shape, raw);
        self.node("Identity", &[&source], name, &[]);
        message(&mut self.graph, 12, &value(name, kind, shape));
        self
    }

    /// `TensorProto`.
    fn initializer(&mut self, name: &str, kind: u64, shape: &[i64], raw: &[u8]) {
        let mut tensor = Vec::new();
        for &side in shape {
            number(&mut tensor, 1, side.cast_unsigned());
        }
        number(&mut tensor, 2, kind);
        message(&mut tensor, 8, name.as_bytes());
        message(&mut tensor, 9, raw);
        message(&mut self.graph, 5, &tensor);
    }

    /// `NodeProto`.
    fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&str, &[i64])],
    ) {
        let mut node = Vec::new();
        for input in inputs {
            message(&mut node, 1, input.as_bytes());
        }
        message(&mut node, 2, output.as_bytes());
        message(&mut node, 4, operator.as_bytes());
        for (name, values) in attributes {
            message(&mut node, 5, &attribute(name, values));
        }
        message(&mut self.graph, 1, &node);
    }
}

/// `AttributeProto`: `axes` is a list of numbers, all else is one.
fn attribute(name: &str, values: &[i64]) -> Vec<u8> {
    let mut attribute = Vec::new();
    message(&mut attribute, 1, name.as_bytes());
    // The field of the values, and `AttributeType`.
    let (field, kind) = if name == "axes" { (8, 7) } else { (3, 2) };
    for value in values {
        number(&mut attribute, field, value.cast_unsigned());
    }
    number(&mut attribute, 20, kind);
    attribute
}

/// `ValueInfoProto`.
fn value(name: &str, kind: u64, shape: &[i64]) -> Vec<u8> {
    let mut sides = Vec::new();
    for &side in shape {
        let mut dimension = Vec::new();
        match u64::try_from(side) {
            Ok(side) => number(&mut dimension, 1, side),
            Err(_) => message(&mut dimension, 2, b"free"),
        }
        message(&mut sides, 1, &dimension);
    }
    let mut tensor = Vec::new();
    number(&mut tensor, 1, kind);
    message(&mut tensor, 2, &sides);
    let mut kind = Vec::new();
    message(&mut kind, 1, &tensor);
    let mut value = Vec::new();
    message(&mut value, 1, name.as_bytes());
    message(&mut value, 2, &kind);
    value
}

/// A field of bytes: text, or a message within a message.
fn message(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

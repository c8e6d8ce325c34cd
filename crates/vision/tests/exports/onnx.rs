//! The few messages of ONNX's protobuf schema (onnx.proto) that these tests need: for a model with constant outputs, and
//! for one whose outputs are replaced.

use half::f16;

use self::Attribute::{Number, Numbers};

/// `TensorProto.DataType`.
pub(crate) const FLOAT: u64 = 1;
pub(crate) const INT64: u64 = 7;
pub(crate) const FLOAT16: u64 = 10;

/// Fields of `ModelProto` and `GraphProto`.
const MODEL_GRAPH: u64 = 7;
const GRAPH_OUTPUT: u64 = 12;

/// A model: its graph, and the other fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    graph: Vec<u8>,
    others: Vec<u8>,
}

/// The value of a node's attribute.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Attribute<'a> {
    Number(i64),
    Numbers(&'a [i64]),
}

impl Model {
    /// IR version 8, operator set 13, and a graph without anything in it.
    pub(crate) fn new() -> Self {
        let mut opset = Vec::new();
        number(&mut opset, 2, 13);
        let mut model = Self::default();
        number(&mut model.others, 1, 8);
        message(&mut model.others, 8, &opset);
        message(&mut model.graph, 2, b"graph");
        model
    }

    /// A model from its bytes, without its outputs: their values stay there for other nodes.
    pub(crate) fn without_outputs(bytes: &[u8]) -> Self {
        let mut model = Self::default();
        for (field, whole, inside) in fields(bytes) {
            match field {
                MODEL_GRAPH => {
                    let kept = fields(inside).filter(|(field, ..)| *field != GRAPH_OUTPUT);
                    kept.for_each(|(_, whole, _)| model.graph.extend(whole));
                }
                _ => model.others.extend(whole),
            }
        }
        model
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

    /// An output of any kind, from its bytes.
    pub(crate) fn raw_output(self, name: &str, kind: u64, shape: &[i64], raw: &[u8]) -> Self {
        self.constant(name, kind, shape, raw)
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
            &[("axes", Numbers(&[3])), ("keepdims", Number(0))],
        );
        self.node(
            "ReduceMean",
            &["lines"],
            "mean",
            &[("axes", Numbers(&[1, 2])), ("keepdims", Number(1))],
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
        message(&mut self.others, 14, &entry);
        self
    }

    /// `ModelProto`.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut model = self.others.clone();
        message(&mut model, MODEL_GRAPH, &self.graph);
        model
    }

    /// Makes a node's value an output.
    pub(crate) fn give(mut self, name: &str, kind: u64, shape: &[i64]) -> Self {
        message(&mut self.graph, GRAPH_OUTPUT, &value(name, kind, shape));
        self
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
    pub(crate) fn initializer(&mut self, name: &str, kind: u64, shape: &[i64], raw: &[u8]) {
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
    pub(crate) fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&str, Attribute<'_>)],
    ) {
        let mut node = Vec::new();
        for input in inputs {
            message(&mut node, 1, input.as_bytes());
        }
        message(&mut node, 2, output.as_bytes());
        message(&mut node, 4, operator.as_bytes());
        for (name, value) in attributes {
            message(&mut node, 5, &attribute(name, *value));
        }
        message(&mut self.graph, 1, &node);
    }
}

/// `AttributeProto`.
fn attribute(name: &str, value: Attribute<'_>) -> Vec<u8> {
    let mut attribute = Vec::new();
    message(&mut attribute, 1, name.as_bytes());
    // The field of the values, and `AttributeType`.
    let (field, kind, values) = match value {
        Number(ref value) => (3, 2, std::slice::from_ref(value)),
        Numbers(values) => (8, 7, values),
    };
    for value in values {
        number(&mut attribute, field, value.cast_unsigned());
    }
    number(&mut attribute, 20, kind);
    attribute
}

/// `ValueInfoProto`.
fn value(name: &str, kind: u64, shape: &[i64]) -> Vec<u8> {
    let mut sides = Vec::new();
    for (axis, &side) in shape.iter().enumerate() {
        let mut dimension = Vec::new();
        match u64::try_from(side) {
            Ok(side) => number(&mut dimension, 1, side),
            // Sides of one name would have to be equal.
            Err(_) => message(&mut dimension, 2, format!("{name}_{axis}").as_bytes()),
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

/// Returns the fields of a message: number, whole bytes, and what is inside one of bytes.
fn fields(mut bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (key, mut at) = read_varint(bytes)?;
        let length = match key & 7 {
            0 => read_varint(&bytes[at..])?.1,
            1 => 8,
            5 => 4,
            2 => {
                let (length, digits) = read_varint(&bytes[at..])?;
                at += digits;
                usize::try_from(length).unwrap()
            }
            other => panic!("wire type {other}"),
        };
        let (whole, rest) = bytes.split_at(at + length);
        bytes = rest;
        Some((key >> 3, whole, &whole[at..]))
    })
}

/// Returns a number and how many bytes it takes; `None` at the end.
fn read_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let sevens = bytes[..length].iter().rev();
    let value = sevens.fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((value, length))
}

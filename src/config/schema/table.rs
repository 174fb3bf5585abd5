//! The shape of every key that the file may hold, from `paths.tsv`.
//!
//! One line per key: indentation is depth, then the key (`!` means required,
//! `*` any other key, `[]` an array's items, `|` one alternative), the shape,
//! its bounds. `#7` names a shape, `=7` repeats it. Validation, the JSON Schema
//! and lookups read this one table.

use std::collections::HashMap;
use std::sync::OnceLock;

const TEXT: &str = include_str!("paths.tsv");

/// What a value must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Any,
    Null,
    Bool,
    Int,
    Number,
    String,
    /// Plain text, `${VAR}` or a reference object.
    Secret,
    /// A reference object only.
    Ref,
    /// An object that refuses unknown keys.
    Strict,
    Object,
    Array,
    /// One of the values listed in [`Shape::values`].
    Enum,
    /// The same, with the other wording of the complaint.
    Literals,
    Union,
    /// A union told apart by the value of one key.
    OneOf,
}

/// A shape and its parts.
#[derive(Debug)]
pub struct Shape {
    pub kind: Kind,
    /// JSON literals, separated by spaces.
    pub values: &'static str,
    /// For example `>0 <=65535`, separated by spaces.
    pub bounds: &'static str,
    pub edges: Vec<Edge>,
}

/// A named part of a shape.
#[derive(Debug, Clone, Copy)]
pub struct Edge {
    pub key: &'static str,
    pub required: bool,
    shape: usize,
}

/// All shapes; the root is the document.
#[derive(Debug)]
pub struct Table {
    shapes: Vec<Shape>,
}

/// The table, parsed on first use.
pub fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| Table::parse(TEXT))
}

impl Table {
    /// The shape of the whole document.
    pub fn root(&self) -> &Shape {
        &self.shapes[0]
    }

    pub fn shape(&self, edge: &Edge) -> &Shape {
        &self.shapes[edge.shape]
    }

    /// The shape at a path of keys; indices and free keys match `[]` and `*`.
    pub fn at<'k>(&self, keys: impl IntoIterator<Item = &'k str>) -> Option<&Shape> {
        keys.into_iter().try_fold(self.root(), |shape, key| self.step(shape, key))
    }

    fn step<'s>(&'s self, shape: &'s Shape, key: &str) -> Option<&'s Shape> {
        match shape.kind {
            Kind::Union | Kind::OneOf => {
                shape.edges.iter().find_map(|edge| self.step(self.shape(edge), key))
            }
            Kind::Array if key == "*" || key == "[]" || key.parse::<usize>().is_ok() => {
                shape.edges.first().map(|edge| self.shape(edge))
            }
            _ => shape.edge(key).map(|edge| self.shape(edge)),
        }
    }

    fn parse(text: &'static str) -> Self {
        let mut shapes: Vec<Shape> = Vec::with_capacity(text.lines().count());
        let mut named = HashMap::new();
        // The shape on each level that the next line may belong to.
        let mut open: Vec<usize> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with("//")) {
            let depth = line.len() - line.trim_start_matches(' ').len();
            let mut fields = line[depth..].split('\t');
            let key = fields.next().unwrap_or_default();
            let shape = fields.next().unwrap_or_default();
            let bounds = fields.next().unwrap_or_default();
            open.truncate(depth);
            let id = if let Some(name) = shape.strip_prefix('=') {
                named.get(name).copied().unwrap_or(0)
            } else {
                let (kind, values) = shape.split_once(' ').unwrap_or((shape, ""));
                shapes.push(Shape { kind: kind_of(kind), values, bounds, edges: Vec::new() });
                let id = shapes.len() - 1;
                if let Some(name) = fields.next().and_then(|tag| tag.strip_prefix('#')) {
                    named.insert(name, id);
                }
                id
            };
            if let Some(parent) = open.last() {
                let required = key.ends_with('!');
                let key = key.trim_end_matches('!');
                shapes[*parent].edges.push(Edge { key, required, shape: id });
            }
            open.push(id);
        }
        Self { shapes }
    }
}

impl Shape {
    /// The part for `key`: named, else the one for any other key.
    pub fn edge(&self, key: &str) -> Option<&Edge> {
        self.edges
            .iter()
            .find(|edge| edge.key == key && !matches!(key, "*" | "[]" | "|"))
            .or_else(|| self.rest())
    }

    /// The part for keys without a name of their own.
    pub fn rest(&self) -> Option<&Edge> {
        self.edges.iter().find(|edge| edge.key == "*")
    }

    /// The parts that have a name.
    pub fn named(&self) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(|edge| !matches!(edge.key, "*" | "[]" | "|"))
    }

    /// The listed values as JSON texts.
    pub fn literals(&self) -> impl Iterator<Item = &'static str> {
        self.values.split(' ').filter(|value| !value.is_empty())
    }
}

fn kind_of(name: &str) -> Kind {
    match name {
        "null" => Kind::Null,
        "bool" => Kind::Bool,
        "int" => Kind::Int,
        "number" => Kind::Number,
        "string" => Kind::String,
        "secret" => Kind::Secret,
        "ref" => Kind::Ref,
        "strict" => Kind::Strict,
        "object" => Kind::Object,
        "array" => Kind::Array,
        "enum" => Kind::Enum,
        "literals" => Kind::Literals,
        "union" => Kind::Union,
        "oneof" => Kind::OneOf,
        _ => Kind::Any,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_understood() {
        let table = table();
        assert!(table.shapes.len() > 2000);
        for line in TEXT.lines() {
            let shape = line.trim_start().split('\t').nth(1).unwrap();
            let word = shape.split(' ').next().unwrap();
            let known = word.starts_with('=') || word == "any" || kind_of(word) != Kind::Any;
            assert!(known, "{line}");
        }
    }

    #[test]
    fn paths_lead_to_shapes() {
        let at = |path: &str| table().at(path.split('.')).map(|shape| shape.kind);
        assert_eq!(at("gateway.port"), Some(Kind::Int));
        assert_eq!(at("gateway.auth.token"), Some(Kind::Secret));
        assert_eq!(at("agents.list.0.id"), Some(Kind::String));
        assert_eq!(at("models.providers.mine.models.3.cost"), Some(Kind::Strict));
        assert_eq!(at("secrets.providers.v.command"), Some(Kind::String));
        assert_eq!(at("gateway.prot"), None);
    }
}

//! What a pickle may hold, and the short list of Python names it may use.

use super::DType;
use super::error::{Fault, printable};

/// A Python value on the unpickler's stack. Containers lie in a [`Heap`] and are named by index,
/// so values are copied freely, cycles need no counting and dropping deep nests never recurses.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits: little-endian two's complement.
    Long(&'a [u8]),
    Str(&'a str),
    Global(Global),
    Node(usize),
    /// Floats, byte strings, sets: read past, never used.
    Other,
}

/// A value with parts.
#[derive(Debug)]
pub(super) enum Node<'a> {
    Tuple(Vec<Value<'a>>),
    List(Vec<Value<'a>>),
    Dict(Vec<(Value<'a>, Value<'a>)>),
    Storage(Storage<'a>),
    Tensor(View<'a>),
}

/// Numbers in the file that tensors look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage<'a> {
    /// `None` for bytes without a type of their own.
    pub(super) dtype: Option<DType>,
    pub(super) key: &'a str,
    /// Elements, or bytes where there is no type.
    pub(super) length: u64,
    /// Elements to skip: old files have storages that are windows into others.
    pub(super) window: u64,
}

/// A tensor before its numbers are gathered. Offset and strides count elements.
#[derive(Clone, Debug)]
pub(super) struct View<'a> {
    pub(super) storage: Storage<'a>,
    pub(super) dtype: DType,
    pub(super) offset: u64,
    pub(super) shape: Vec<i64>,
    pub(super) strides: Vec<i64>,
}

/// The containers of one pickle.
#[derive(Debug, Default)]
pub(super) struct Heap<'a> {
    nodes: Vec<Node<'a>>,
    /// Values copied from one container into another so far.
    copied: usize,
}

impl<'a> Heap<'a> {
    pub(super) fn add(&mut self, node: Node<'a>) -> Value<'a> {
        self.nodes.push(node);
        Value::Node(self.nodes.len() - 1)
    }

    /// Counts values that are copied out of a container, which the number of opcodes does not
    /// bound: a pickle may recall one long list again and again.
    pub(super) fn charge(&mut self, values: usize) -> Result<(), Fault> {
        const MOST: usize = 1 << 18;
        self.copied = self.copied.saturating_add(values);
        if self.copied > MOST {
            Err(Fault::damaged("it repeats itself without end"))
        } else {
            Ok(())
        }
    }

    /// Every storage spoken of, in the order of the pickle.
    pub(super) fn storages(&self) -> impl Iterator<Item = Storage<'a>> + '_ {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some(*storage),
            _ => None,
        })
    }

    pub(super) fn get(&self, value: Value<'a>) -> Option<&Node<'a>> {
        let Value::Node(index) = value else { return None };
        self.nodes.get(index)
    }

    pub(super) fn get_mut(&mut self, value: Value<'a>) -> Option<&mut Node<'a>> {
        let Value::Node(index) = value else { return None };
        self.nodes.get_mut(index)
    }

    /// The items of a tuple or list.
    pub(super) fn items(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match self.get(value)? {
            Node::Tuple(items) | Node::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries of a dict.
    pub(super) fn entries(&self, value: Value<'a>) -> Option<&[(Value<'a>, Value<'a>)]> {
        match self.get(value)? {
            Node::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value a dict has for a name, the last one where there are several.
    pub(super) fn lookup(&self, dict: Value<'a>, name: &str) -> Option<Value<'a>> {
        let entries = self.entries(dict)?.iter().rev();
        entries.copied().find(|(key, _)| matches!(key, Value::Str(k) if *k == name)).map(|e| e.1)
    }

    /// What a value is, in Python's words.
    pub(super) fn kind(&self, value: Value<'a>) -> &'static str {
        match value {
            Value::None => "None",
            Value::Bool(_) => "a bool",
            Value::Int(_) | Value::Long(_) => "an int",
            Value::Str(_) => "a str",
            Value::Global(_) => "a class",
            Value::Other => "a plain value",
            Value::Node(_) => match self.get(value) {
                Some(Node::Tuple(_)) => "a tuple",
                Some(Node::List(_)) => "a list",
                Some(Node::Dict(_)) => "a dict",
                Some(Node::Tensor(_)) => "a single tensor",
                Some(Node::Storage(_)) | None => "a storage",
            },
        }
    }
}

/// The Python names a state dict needs. None of them is run: each stands for what the reader does
/// in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    /// `_rebuild_tensor(storage, offset, size, stride)`, as the first releases wrote it; `_v2`
    /// adds `requires_grad, hooks`.
    RebuildTensor,
    /// `_rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype)`.
    RebuildTensorV3,
    /// `_rebuild_parameter(tensor, requires_grad, hooks)`.
    RebuildParameter,
    Size,
    Storage(Option<DType>),
    DType(DType),
}

impl Global {
    /// The meaning of `module.name`.
    ///
    /// # Errors
    ///
    /// [`Fault::UnsafeGlobal`] for every name that is not on the list.
    pub(super) fn find(module: &str, name: &str) -> Result<Self, Fault> {
        let known = match (module, name) {
            ("collections", "OrderedDict") => Some(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Self::RebuildTensor),
            ("torch._utils", "_rebuild_tensor_v3") => Some(Self::RebuildTensorV3),
            ("torch._utils", "_rebuild_parameter") => Some(Self::RebuildParameter),
            ("torch", "Size") => Some(Self::Size),
            ("torch" | "torch.storage", "UntypedStorage") => Some(Self::Storage(None)),
            ("torch", _) => {
                let storage = DType::from_storage_class(name).map(|t| Self::Storage(Some(t)));
                storage.or_else(|| DType::from_name(name).map(Self::DType))
            }
            _ => None,
        };
        known.ok_or_else(|| Fault::UnsafeGlobal(printable(&format!("{module}.{name}"))))
    }
}

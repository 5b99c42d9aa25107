//! What the reader does where a pickle would call a Python function.

use super::DType;
use super::error::{Fault, printable};
use super::value::{Global, Heap, Node, Storage, Value, View};

/// More dimensions than any tensor of a network has.
const MOST_DIMENSIONS: usize = 16;

/// The value of `callee(*arguments)`.
pub(super) fn call<'a>(
    heap: &mut Heap<'a>,
    callee: Value<'a>,
    arguments: &[Value<'a>],
) -> Result<Value<'a>, Fault> {
    let Value::Global(callee) = callee else {
        return Err(Fault::damaged("it calls something that is not a function"));
    };
    match (callee, arguments) {
        (Global::OrderedDict, []) => Ok(heap.add(Node::Dict(Vec::new()))),
        // Python 2 wrote an OrderedDict with its entries: [[key, value], ...].
        (Global::OrderedDict, &[list]) => {
            let pair = |&item| match heap.items(item) {
                Some(&[key, value]) => Some((key, value)),
                _ => None,
            };
            let entries: Option<Vec<_>> =
                heap.items(list).and_then(|list| list.iter().map(pair).collect());
            let entries = entries.ok_or_else(|| wrong("collections.OrderedDict"))?;
            heap.charge(entries.len())?;
            Ok(heap.add(Node::Dict(entries)))
        }
        (Global::RebuildTensor, &[storage, offset, size, stride, ..]) => {
            tensor(heap, storage, [offset, size, stride], None)
        }
        (Global::RebuildTensorV3, &[storage, offset, size, stride, _, _, dtype, ..]) => {
            let Value::Global(Global::DType(dtype)) = dtype else {
                return Err(wrong("torch._utils._rebuild_tensor_v3"));
            };
            tensor(heap, storage, [offset, size, stride], Some(dtype))
        }
        (Global::RebuildParameter, &[data, ..]) => match heap.get(data) {
            Some(Node::Tensor(_)) => Ok(data),
            _ => Err(wrong("torch._utils._rebuild_parameter")),
        },
        (Global::Size, &[sizes]) if heap.items(sizes).is_some() => Ok(sizes),
        _ => Err(Fault::damaged("it calls a function with the wrong arguments")),
    }
}

fn tensor<'a>(
    heap: &mut Heap<'a>,
    storage: Value<'a>,
    [offset, size, stride]: [Value<'a>; 3],
    dtype: Option<DType>,
) -> Result<Value<'a>, Fault> {
    let Some(&Node::Storage(storage)) = heap.get(storage) else {
        return Err(Fault::damaged("it has a tensor without a storage"));
    };
    let view = (|| {
        let Value::Int(offset) = offset else { return None };
        let (shape, strides) = (whole_numbers(heap, size)?, whole_numbers(heap, stride)?);
        (shape.len() == strides.len()).then_some(View {
            storage,
            dtype: dtype.or(storage.dtype)?,
            offset: offset.try_into().ok()?,
            shape,
            strides,
        })
    })();
    let view = view.ok_or_else(|| wrong("torch._utils._rebuild_tensor_v2"))?;
    Ok(heap.add(Node::Tensor(view)))
}

/// A tuple of lengths or strides.
fn whole_numbers<'a>(heap: &Heap<'a>, tuple: Value<'a>) -> Option<Vec<i64>> {
    let items = heap.items(tuple)?;
    if items.len() > MOST_DIMENSIONS {
        return None;
    }
    let number = |&item| match item {
        Value::Int(n) if n >= 0 => Some(n),
        _ => None,
    };
    items.iter().map(number).collect()
}

/// The storage a persistent id speaks of: `('storage', class, key, device, length)`, in old files
/// followed by None or the window `(key, offset, length)`.
pub(super) fn storage<'a>(heap: &mut Heap<'a>, id: Value<'a>) -> Result<Value<'a>, Fault> {
    let storage = (|| {
        let items = heap.items(id)?;
        let &[Value::Str("storage"), class, Value::Str(key), _, Value::Int(length), ref more @ ..] =
            items
        else {
            return None;
        };
        let Value::Global(Global::Storage(dtype)) = class else { return None };
        let mut storage = Storage { dtype, key, length: length.try_into().ok()?, window: 0 };
        match more {
            [] | [Value::None] => {}
            &[window] => {
                let &[_, Value::Int(offset), Value::Int(length)] = heap.items(window)? else {
                    return None;
                };
                storage.window = offset.try_into().ok()?;
                storage.length = length.try_into().ok()?;
            }
            _ => return None,
        }
        Some(storage)
    })();
    let storage = storage.ok_or_else(|| Fault::damaged("it has a storage without a place"))?;
    Ok(heap.add(Node::Storage(storage)))
}

fn wrong(function: &str) -> Fault {
    Fault::damaged(format!("it calls {} with the wrong arguments", printable(function)))
}

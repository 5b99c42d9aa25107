//! A reader of Python pickles that runs nothing.
//!
//! A pickle is a program for a small stack machine, and Python's own machine lets it call any
//! function there is. This one knows the names on the list in [`Global`] and does in their place
//! what a state dict needs; any other name ends the reading. It understands all binary opcodes of
//! protocols 2 to 5.
//!
//! Bounds: an opcode adds at most one value to the stack, one container to the heap and one entry
//! to the memo, and there are at most [`MOST_OPCODES`] of them; strings are borrowed from the
//! file. Nothing recurses.

use std::collections::HashMap;

use super::cursor::Cursor;
use super::error::Fault;
use super::rebuild;
use super::value::{Global, Heap, Node, Value};

/// Enough for some 8,000 tensors of about 30 opcodes each, few enough that a pickle of nothing but
/// empty dicts takes no more than some 60 MB.
const MOST_OPCODES: usize = 1 << 18;

/// A pickle read.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub(super) root: Value<'a>,
    pub(super) heap: Heap<'a>,
}

/// Reads the pickle at the cursor and leaves the cursor after it.
pub(super) fn read<'a>(cursor: &mut Cursor<'a>) -> Result<Pickle<'a>, Fault> {
    let mut machine = Machine {
        cursor: *cursor,
        heap: Heap::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    for _ in 0..MOST_OPCODES {
        if let Some(root) = machine.step()? {
            *cursor = machine.cursor;
            return Ok(Pickle { root, heap: machine.heap });
        }
    }
    Err(Fault::damaged("its pickle is too long for a state dict"))
}

struct Machine<'a> {
    cursor: Cursor<'a>,
    heap: Heap<'a>,
    stack: Vec<Value<'a>>,
    /// Heights of the stack at which an open `MARK` stands.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
}

impl<'a> Machine<'a> {
    /// Does one opcode; the finished value after `STOP`.
    fn step(&mut self) -> Result<Option<Value<'a>>, Fault> {
        let opcode = self.cursor.u8()?;
        match opcode {
            b'.' => return Ok(Some(self.pop()?)),
            0x80 => {
                let protocol = self.cursor.u8()?;
                if !(2..=5).contains(&protocol) {
                    return Err(Fault::damaged(format!("it has pickle protocol {protocol}")));
                }
            }
            0x95 => {
                self.cursor.u64()?; // FRAME: a hint for buffered readers
            }
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.pop_mark()?;
            }
            b'2' => self.stack.push(self.top()?),
            b'h' | b'j' | b'q' | b'r' | 0x94 => self.remember(opcode)?,
            b'c' | 0x93 | b'i' | b'R' | b'o' | 0x81 | 0x92 | b'b' | b'Q' => self.call(opcode)?,
            0x82..=0x84 => {
                return Err(Fault::UnsafeGlobal("a registered extension".to_owned()));
            }
            b'a'
            | b'e'
            | b's'
            | b'u'
            | b')'
            | b't'
            | b'l'
            | b']'
            | b'}'
            | b'd'
            | 0x85..=0x87
            | 0x8f..=0x91 => self.collect(opcode)?,
            _ => {
                let value = self.literal(opcode)?;
                self.stack.push(value);
            }
        }
        Ok(None)
    }

    /// Opcodes that stand for a number or a text.
    fn literal(&mut self, opcode: u8) -> Result<Value<'a>, Fault> {
        let cursor = &mut self.cursor;
        Ok(match opcode {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'J' => Value::Int(cursor.i32()?.into()),
            b'K' => Value::Int(cursor.u8()?.into()),
            b'M' => Value::Int(cursor.u16()?.into()),
            0x8a => long(u64::from(cursor.u8()?), cursor)?,
            0x8b => long(u64::from(cursor.u32()?), cursor)?,
            b'G' => {
                cursor.take(8)?;
                Value::Other
            }
            b'X' => utf8(u64::from(cursor.u32()?), cursor)?,
            0x8c => utf8(u64::from(cursor.u8()?), cursor)?,
            0x8d => utf8(cursor.u64()?, cursor)?,
            // Texts of Python 2: in state dicts always ASCII.
            b'U' => utf8(u64::from(cursor.u8()?), cursor)?,
            b'T' => utf8(u64::from(cursor.u32()?), cursor)?,
            b'C' => bytes(u64::from(cursor.u8()?), cursor)?,
            b'B' => bytes(u64::from(cursor.u32()?), cursor)?,
            0x8e | 0x96 => bytes(cursor.u64()?, cursor)?,
            _ => {
                return Err(Fault::damaged(format!(
                    "it has the opcode {opcode:#04x}, which PyTorch never writes"
                )));
            }
        })
    }

    /// Opcodes of the memo.
    fn remember(&mut self, opcode: u8) -> Result<(), Fault> {
        let index = match opcode {
            b'h' | b'q' => u32::from(self.cursor.u8()?),
            b'j' | b'r' => self.cursor.u32()?,
            _ => self.memo.len() as u32, // MEMOIZE; the count of opcodes bounds it
        };
        if matches!(opcode, b'h' | b'j') {
            let value = self.memo.get(&index).copied();
            self.stack.push(
                value.ok_or_else(|| Fault::damaged("it recalls an object that it never stored"))?,
            );
        } else {
            let value = self.top()?;
            self.memo.insert(index, value);
        }
        Ok(())
    }

    /// Opcodes that make or fill a container.
    fn collect(&mut self, opcode: u8) -> Result<(), Fault> {
        let node = match opcode {
            b')' => Node::Tuple(Vec::new()),
            b't' => Node::Tuple(self.pop_mark()?),
            0x85 => Node::Tuple(vec![self.pop()?]),
            0x86 => Node::Tuple(self.pop_several::<2>()?.to_vec()),
            0x87 => Node::Tuple(self.pop_several::<3>()?.to_vec()),
            b']' => Node::List(Vec::new()),
            b'l' => Node::List(self.pop_mark()?),
            b'}' => Node::Dict(Vec::new()),
            b'd' => Node::Dict(pairs(&self.pop_mark()?)?),
            b'a' => {
                let item = self.pop()?;
                return self.extend_list(vec![item]);
            }
            b'e' => {
                let items = self.pop_mark()?;
                return self.extend_list(items);
            }
            b's' => {
                let entry = self.pop_several::<2>()?;
                return self.extend_dict(&entry);
            }
            b'u' => {
                let entries = self.pop_mark()?;
                return self.extend_dict(&entries);
            }
            0x8f => {
                self.stack.push(Value::Other); // EMPTY_SET
                return Ok(());
            }
            0x90 => {
                self.pop_mark()?; // ADDITEMS: the set below stays
                return self.top().map(drop);
            }
            _ => {
                self.pop_mark()?; // FROZENSET
                self.stack.push(Value::Other);
                return Ok(());
            }
        };
        let value = self.heap.add(node);
        self.stack.push(value);
        Ok(())
    }

    fn extend_list(&mut self, items: Vec<Value<'a>>) -> Result<(), Fault> {
        let list = self.top()?;
        match self.heap.get_mut(list) {
            Some(Node::List(list)) => list.extend(items),
            _ => return Err(Fault::damaged("it adds an item to something that is not a list")),
        }
        Ok(())
    }

    fn extend_dict(&mut self, flat: &[Value<'a>]) -> Result<(), Fault> {
        let dict = self.top()?;
        match self.heap.get_mut(dict) {
            Some(Node::Dict(dict)) => dict.extend(pairs(flat)?),
            _ => return Err(Fault::damaged("it adds an entry to something that is not a dict")),
        }
        Ok(())
    }

    /// Opcodes with which a pickle names or calls something.
    fn call(&mut self, opcode: u8) -> Result<(), Fault> {
        let value = match opcode {
            b'c' => self.global_by_lines()?,
            0x93 => {
                let [module, name] = self.pop_several()?;
                let (Value::Str(module), Value::Str(name)) = (module, name) else {
                    return Err(Fault::damaged("it names a class by something that is not text"));
                };
                Value::Global(Global::find(module, name)?)
            }
            b'i' => {
                let class = self.global_by_lines()?;
                let arguments = self.pop_mark()?;
                rebuild::call(&mut self.heap, class, &arguments)?
            }
            b'o' => match self.pop_mark()?.split_first() {
                Some((&class, arguments)) => rebuild::call(&mut self.heap, class, arguments)?,
                None => return Err(empty()),
            },
            b'R' | 0x81 => {
                let [callee, arguments] = self.pop_several()?;
                self.call_with(callee, arguments)?
            }
            0x92 => {
                let [class, arguments, keywords] = self.pop_several()?;
                if self.heap.entries(keywords).is_none_or(|entries| !entries.is_empty()) {
                    return Err(Fault::damaged("it calls a class with named arguments"));
                }
                self.call_with(class, arguments)?
            }
            b'Q' => {
                let id = self.pop()?;
                rebuild::storage(&mut self.heap, id)?
            }
            // BUILD: state of the object below it. An OrderedDict keeps `_metadata` there, which
            // nothing needs.
            _ => {
                self.pop()?;
                let object = self.top()?;
                if self.heap.entries(object).is_none() {
                    return Err(Fault::damaged(
                        "it sets the state of something that is not a dict",
                    ));
                }
                return Ok(());
            }
        };
        self.stack.push(value);
        Ok(())
    }

    fn call_with(&mut self, callee: Value<'a>, arguments: Value<'a>) -> Result<Value<'a>, Fault> {
        // Few enough to be copied: one long tuple may be recalled for call after call.
        const MOST_ARGUMENTS: usize = 16;
        let arguments = self.heap.items(arguments).filter(|a| a.len() <= MOST_ARGUMENTS);
        let arguments = arguments.map(<[_]>::to_vec);
        let arguments = arguments.ok_or_else(|| Fault::damaged("it calls without arguments"))?;
        rebuild::call(&mut self.heap, callee, &arguments)
    }

    fn global_by_lines(&mut self) -> Result<Value<'a>, Fault> {
        let (module, name) = (self.cursor.line()?, self.cursor.line()?);
        let (module, name) = (String::from_utf8_lossy(module), String::from_utf8_lossy(name));
        Global::find(&module, &name).map(Value::Global)
    }

    fn top(&self) -> Result<Value<'a>, Fault> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack.get(floor..).and_then(<[_]>::last).copied().ok_or_else(empty)
    }

    fn pop(&mut self) -> Result<Value<'a>, Fault> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    /// The last `N` values, the topmost last.
    fn pop_several<const N: usize>(&mut self) -> Result<[Value<'a>; N], Fault> {
        let mut values = [Value::None; N];
        for value in values.iter_mut().rev() {
            *value = self.pop()?;
        }
        Ok(values)
    }

    /// Everything since the last `MARK`, which is taken too.
    fn pop_mark(&mut self) -> Result<Vec<Value<'a>>, Fault> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or_else(empty)?))
    }
}

fn empty() -> Fault {
    Fault::damaged("its pickle takes from an empty stack")
}

fn pairs<'a>(flat: &[Value<'a>]) -> Result<Vec<(Value<'a>, Value<'a>)>, Fault> {
    match flat.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        _ => Err(Fault::damaged("it has a dict with a key too many")),
    }
}

fn long<'a>(length: u64, cursor: &mut Cursor<'a>) -> Result<Value<'a>, Fault> {
    let bytes = cursor.take(length)?;
    if bytes.len() > 8 {
        return Ok(Value::Long(bytes));
    }
    let negative = bytes.last().is_some_and(|&b| b >= 0x80);
    let mut full = [if negative { 0xFF } else { 0 }; 8];
    for (to, from) in full.iter_mut().zip(bytes) {
        *to = *from;
    }
    Ok(Value::Int(i64::from_le_bytes(full)))
}

fn utf8<'a>(length: u64, cursor: &mut Cursor<'a>) -> Result<Value<'a>, Fault> {
    let bytes = cursor.take(length)?;
    str::from_utf8(bytes).map(Value::Str).map_err(|_| Fault::damaged("it has text in no UTF-8"))
}

fn bytes<'a>(length: u64, cursor: &mut Cursor<'a>) -> Result<Value<'a>, Fault> {
    cursor.take(length)?;
    Ok(Value::Other)
}

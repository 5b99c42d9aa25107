//! Kernel parameters: the same structs as in `kernels.cu`, which explains each field. Addresses are device
//! addresses.

/// The parameter of a kernel.
pub(super) trait KernelArgs: Copy + cudarc::driver::DeviceRepr {
    /// Name of the kernel.
    const NAME: &'static str;
    /// Index of the kernel in [`NAMES`].
    const INDEX: usize;
}

macro_rules! tasks {
    ($($task:ident $name:literal),+ $(,)?) => {
        /// Names of all kernels.
        pub(super) const NAMES: &[&str] = &[$($name),+];

        #[allow(non_camel_case_types, dead_code)]
        #[derive(Clone, Copy)]
        enum Order { $($task),+ }

        $(impl KernelArgs for $task {
            const NAME: &'static str = $name;
            const INDEX: usize = Order::$task as usize;
        }

        // SAFETY: numbers alone, laid out as C does, without anything to drop.
        unsafe impl cudarc::driver::DeviceRepr for $task {})+
    };
}

tasks! {
    Stem "stem",
    Moments "moments",
    ScaleShift "affine",
    Apply "apply",
    Finish "finish",
    Read "read_frame",
    Write "write_frame",
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Stem {
    pub planes: u64,
    pub to: u64,
    pub height: i32,
    pub width: i32,
    pub whole_height: i32,
    pub whole_width: i32,
    pub pad: i32,
    pub border: i32,
    pub middle: f32,
}

/// `Made` in `kernels.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw {
    pub from: [u64; 4],
    pub picture: i64,
    pub line: i64,
    pub pixel: i32,
    pub phases: i32,
    pub height: i32,
    pub width: i32,
    pub channels: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    pub made: Raw,
    pub parts: u64,
    pub chunks: i32,
    pub segment: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct ScaleShift {
    pub parts: u64,
    pub weight: u64,
    pub bias: u64,
    pub scale: u64,
    pub shift: u64,
    pub chunks: i32,
    pub channels: i32,
    pub epsilon: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Apply {
    pub made: Raw,
    pub scale: u64,
    pub shift: u64,
    pub skip: u64,
    pub to: u64,
    pub height: i32,
    pub width: i32,
    pub pad: i32,
    pub border: i32,
    pub enlarge: i32,
    pub norms: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Finish {
    pub from: u64,
    pub planes: u64,
    pub lines: i32,
    pub columns: i32,
    pub height: i32,
    pub width: i32,
    pub bias: [f32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Colors {
    pub samples: u64,
    pub planes: u64,
    pub height: i32,
    pub width: i32,
    pub rows: [f32; 9],
    pub constants: [f32; 3],
}

/// Frames to R, G, B.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Read(pub Colors);

/// R, G, B to frames.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Write(pub Colors);

//! Makes glibc keep memory that libtorch frees.

/// Makes glibc keep freed memory for the next frame, for the whole process.
///
/// A layer's result at 1280×720 is 118 MB. By default glibc fetches a block that large from the
/// system and gives it back at once, frame after frame, and the system must fill each with zeros:
/// 1.0 of the 4.8 s of processor time that a frame takes in single precision, 0.12 of 1.07 s at
/// 640×360. With these settings 0.17 and 0.015 s are left. The price is memory that is kept while
/// it is not needed: the peak rises from 0.96 to at most 1.2 GB, and from 344 to 366 MB.
///
/// Threads that have allocated before keep their own arenas, so this comes early.
pub(super) fn keep() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // From malloc.h.
        const M_TRIM_THRESHOLD: i32 = -1;
        const M_MMAP_MAX: i32 = -4;
        const M_ARENA_MAX: i32 = -8;
        // SAFETY: the declaration is that of mallopt(3), which takes any two numbers, and locks.
        #[allow(unsafe_code)]
        unsafe extern "C" {
            safe fn mallopt(parameter: i32, value: i32) -> i32;
        }
        // Blocks from one arena, never mapped by themselves, never given back below 2 GiB of idle
        // memory. A setting that is refused leaves the default, which is only slower.
        mallopt(M_ARENA_MAX, 1);
        mallopt(M_MMAP_MAX, 0);
        mallopt(M_TRIM_THRESHOLD, i32::MAX);
    }
}

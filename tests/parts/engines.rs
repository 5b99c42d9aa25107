//! Engines that run parts on many machines: their files in packaging/.

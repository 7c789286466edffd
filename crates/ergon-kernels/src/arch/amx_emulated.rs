//! Matrix tiles for tests on processors that have none: the signal that an unknown instruction raises is answered by doing
//! what the instruction says, one number after the other.
//!
//! Encodings and meanings are those of Intel's "Architecture Instruction Set Extensions Programming Reference", chapter on AMX.
//! Only what the kernels use is known; everything else kills the process, as it would without this.

use std::cell::UnsafeCell;

use crate::float::bf16_to_f32;

/// A tile register: sixteen rows of 64 bytes.
type Tile = [[u8; 64]; 16];

/// The tiles of a thread.
struct Registers {
    /// Rows, and bytes of a row.
    shapes: [[usize; 2]; 8],
    tiles: [Tile; 8],
}

/// Touched by the handler alone, which runs on the thread whose tiles these are and is not interrupted by itself.
struct Here(UnsafeCell<Registers>);

thread_local! {
    static REGISTERS: Here = const {
        Here(UnsafeCell::new(Registers { shapes: [[0; 2]; 8], tiles: [[[0; 64]; 16]; 8] }))
    };
}

/// What an instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instruction {
    Configure,
    Release,
    Zero { tile: usize },
    Load { tile: usize },
    Store { tile: usize },
    BytesProduct { sums: usize, a: usize, b: usize },
    Bf16Product { sums: usize, a: usize, b: usize },
}

/// Answers the signal of unknown instructions from now on, in this process.
pub(super) fn install() -> bool {
    // SAFETY: the structure is plain numbers, and zero is a value of all of them.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = answer as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler has the signature that the flags announce, and `action` lives through the call.
    unsafe { libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut()) == 0 }
}

/// The registers of the interrupted program, and where its next instruction is.
struct Machine<'a>(&'a mut [i64; 23]);

impl Machine<'_> {
    /// Register `number` of the instruction encoding.
    fn register(&self, number: u8) -> usize {
        const PLACES: [i32; 16] = [
            libc::REG_RAX,
            libc::REG_RCX,
            libc::REG_RDX,
            libc::REG_RBX,
            libc::REG_RSP,
            libc::REG_RBP,
            libc::REG_RSI,
            libc::REG_RDI,
            libc::REG_R8,
            libc::REG_R9,
            libc::REG_R10,
            libc::REG_R11,
            libc::REG_R12,
            libc::REG_R13,
            libc::REG_R14,
            libc::REG_R15,
        ];
        self.0[PLACES[usize::from(number)] as usize] as usize
    }

    /// The instruction here, the address and the bytes from row to row of its memory, and its length.
    fn decode(&self) -> Option<(Instruction, [usize; 2], usize)> {
        let at = self.0[libc::REG_RIP as usize] as usize as *const u8;
        // SAFETY: instructions are readable, and those that are asked for have so many bytes as are looked at.
        let byte = |n: usize| unsafe { at.add(n).read() };
        // Three bytes of VEX, 0F38, 128 bits, W0.
        if byte(0) != 0xc4 || byte(1) & 0x1f != 2 || byte(2) & 0x84 != 0 {
            return None;
        }
        let (prefix, opcode, modrm) = (byte(2) & 3, byte(3), byte(4));
        let (tile, third) = (usize::from(modrm >> 3 & 7), usize::from(!byte(2) >> 3 & 7));
        if modrm >> 6 == 3 {
            let second = usize::from(modrm & 7);
            let instruction = match (opcode, prefix) {
                (0x49, 0) if modrm == 0xc0 => Instruction::Release,
                (0x49, 3) => Instruction::Zero { tile },
                (0x5e, 3) => Instruction::BytesProduct { sums: tile, a: second, b: third },
                (0x5c, 2) => Instruction::Bf16Product { sums: tile, a: second, b: third },
                _ => return None,
            };
            return Some((instruction, [0; 2], 5));
        }
        let instruction = match (opcode, prefix) {
            (0x49, 0) => Instruction::Configure,
            (0x4b, 3) => Instruction::Load { tile },
            (0x4b, 2) => Instruction::Store { tile },
            _ => return None,
        };
        let (base_high, index_high) = ((!byte(1) >> 5 & 1) << 3, (!byte(1) >> 6 & 1) << 3);
        let has_index = modrm & 7 == 4;
        let sib = if has_index { byte(5) } else { modrm & 7 };
        let before = 5 + usize::from(has_index);
        let (displacement, length) = match modrm >> 6 {
            0 if sib & 7 == 5 => return None,
            0 => (0, before),
            1 => (isize::from(byte(before) as i8), before + 1),
            _ => {
                let bytes = [byte(before), byte(before + 1), byte(before + 2), byte(before + 3)];
                (i32::from_le_bytes(bytes) as isize, before + 4)
            }
        };
        let base = self.register(sib & 7 | base_high);
        let index = sib >> 3 & 7 | index_high;
        let stride = if has_index && index != 4 { self.register(index) << (sib >> 6) } else { 0 };
        Some((instruction, [base.wrapping_add_signed(displacement), stride], length))
    }
}

extern "C" fn answer(signal: i32, _: *const libc::siginfo_t, context: *mut libc::ucontext_t) {
    // SAFETY: the kernel gives the context of the interrupted program, which nobody else looks at meanwhile.
    let machine = Machine(unsafe { &mut (*context).uc_mcontext.gregs });
    let Some((instruction, memory, length)) = machine.decode() else {
        // Back to the instruction without this handler.
        // SAFETY: a plain system call.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    };
    REGISTERS.with(|registers| {
        // SAFETY: see `Here`; memory is what the instruction would read or write.
        unsafe { (*registers.0.get()).run(instruction, memory) };
    });
    machine.0[libc::REG_RIP as usize] += length as i64;
}

impl Registers {
    /// # Safety
    /// The memory that the instruction reads or writes must be the program's.
    unsafe fn run(&mut self, instruction: Instruction, [at, stride]: [usize; 2]) {
        let row_at = |row: usize| at.wrapping_add(row.wrapping_mul(stride));
        match instruction {
            Instruction::Configure => {
                // SAFETY: a configuration is 64 bytes.
                let bytes = unsafe { (at as *const [u8; 64]).read_unaligned() };
                for tile in 0..8 {
                    self.shapes[tile] = [usize::from(bytes[48 + tile]), usize::from(bytes[16 + 2 * tile])];
                }
                self.tiles = [[[0; 64]; 16]; 8];
            }
            Instruction::Release => self.shapes = [[0; 2]; 8],
            Instruction::Zero { tile } => self.tiles[tile] = [[0; 64]; 16],
            Instruction::Load { tile } => {
                let [rows, bytes] = self.shape(tile);
                self.tiles[tile] = [[0; 64]; 16];
                for row in 0..rows {
                    let to = self.tiles[tile][row].as_mut_ptr();
                    // SAFETY: a row of the tile, at most 64 bytes.
                    unsafe { to.copy_from_nonoverlapping(row_at(row) as *const u8, bytes) };
                }
            }
            Instruction::Store { tile } => {
                let [rows, bytes] = self.shape(tile);
                for row in 0..rows {
                    let from = self.tiles[tile][row].as_ptr();
                    // SAFETY: as above.
                    unsafe { from.copy_to_nonoverlapping(row_at(row) as *mut u8, bytes) };
                }
            }
            Instruction::BytesProduct { sums, a, b } => self.bytes_product(sums, a, b),
            Instruction::Bf16Product { sums, a, b } => self.bf16_product(sums, a, b),
        }
    }

    /// Rows and bytes of a row of a tile that is in use.
    fn shape(&self, tile: usize) -> [usize; 2] {
        let shape = self.shapes[tile];
        assert!(shape[0] > 0 && shape[0] <= 16 && shape[1] > 0 && shape[1] <= 64, "tile {tile} has no shape");
        shape
    }

    /// The shapes of a product, which fit each other: rows, words of depth, columns.
    fn product_shape(&self, sums: usize, a: usize, b: usize) -> [usize; 3] {
        let ([rows, columns], a, b) = (self.shape(sums), self.shape(a), self.shape(b));
        assert!(a[0] == rows && b[1] == columns && a[1] == 4 * b[0], "shapes {rows}x{columns}, {a:?}, {b:?}");
        [rows, b[0], columns / 4]
    }

    fn bytes_product(&mut self, sums: usize, a: usize, b: usize) {
        let [rows, depth, columns] = self.product_shape(sums, a, b);
        for row in 0..rows {
            for k in 0..depth {
                for column in 0..columns {
                    let (x, y) = (word(&self.tiles[a], row, k), word(&self.tiles[b], k, column));
                    let products = x.into_iter().zip(y).map(|(x, y)| i32::from(x as i8) * i32::from(y as i8));
                    let before = i32::from_le_bytes(word(&self.tiles[sums], row, column));
                    let sum = products.fold(before, i32::wrapping_add);
                    set_word(&mut self.tiles[sums], row, column, sum as u32);
                }
            }
        }
    }

    /// Even and odd numbers of the depth are summed apart, then together, then with what was there.
    fn bf16_product(&mut self, sums: usize, a: usize, b: usize) {
        let [rows, depth, columns] = self.product_shape(sums, a, b);
        let number = |bytes: [u8; 4], half: usize| {
            bf16_to_f32(u16::from_le_bytes([bytes[2 * half], bytes[2 * half + 1]]))
        };
        for row in 0..rows {
            for column in 0..columns {
                let mut halves = [0.0_f32; 2];
                for k in 0..depth {
                    let (x, y) = (word(&self.tiles[a], row, k), word(&self.tiles[b], k, column));
                    for (half, sum) in halves.iter_mut().enumerate() {
                        *sum = number(x, half).mul_add(number(y, half), *sum);
                    }
                }
                let before = f32::from_le_bytes(word(&self.tiles[sums], row, column));
                let sum = before + (halves[0] + halves[1]);
                set_word(&mut self.tiles[sums], row, column, sum.to_bits());
            }
        }
    }
}

fn word(tile: &Tile, row: usize, column: usize) -> [u8; 4] {
    let bytes = &tile[row][4 * column..];
    [bytes[0], bytes[1], bytes[2], bytes[3]]
}

fn set_word(tile: &mut Tile, row: usize, column: usize, value: u32) {
    tile[row][4 * column..4 * column + 4].copy_from_slice(&value.to_le_bytes());
}

//! Routed experts: each expert multiplies all of its tokens at once, so that its weights are read once a step.

use ergon_kernels::{Activations, Cpu, MatmulJob, RowSet, matmul, matmul_jobs, ops};
use ergon_types::WeightFormat;

use crate::config::MoeConfig;
use crate::matrix::Matrix;
use crate::router::route;
use crate::scratch::{MoeScratch, sized};
use crate::weights::{Expert, MoeWeights};

impl MoeWeights {
    /// Formats of the matrices that multiply the input.
    pub(crate) fn input_formats(&self) -> impl Iterator<Item = WeightFormat> + '_ {
        let routed = self.experts.iter().flat_map(|expert| [expert.gate.format(), expert.up.format()]);
        let shared = self.shared_experts.iter().flat_map(|shared| shared.input_formats());
        routed.chain(shared).chain([self.router.format()])
    }

    /// Writes the output `[rows, hidden_size]` for the input `x` `[rows, hidden_size]`.
    pub(crate) fn forward(
        &self,
        cpu: &Cpu,
        moe: &MoeConfig,
        x: Activations,
        scratch: &mut MoeScratch,
        output: &mut [f32],
    ) {
        self.choose(cpu, moe, x, scratch);
        sort_by_expert(moe, x.rows(), scratch);
        self.visit(cpu, moe, x, scratch);
        self.combine(moe, x.rows(), scratch, output);
        if let Some(shared) = &self.shared_experts {
            let shared_output = sized(&mut scratch.shared_output, output.len());
            shared.forward(cpu, x, &mut scratch.shared, shared_output);
            ops::add_in_place(cpu, output, shared_output);
        }
    }

    fn choose(&self, cpu: &Cpu, moe: &MoeConfig, x: Activations, scratch: &mut MoeScratch) {
        let logits = sized(&mut scratch.logits, x.rows() * moe.n_routed_experts);
        matmul(cpu, self.router.view(), x, logits);
        scratch.choices.clear();
        for row in logits.chunks_exact(moe.n_routed_experts) {
            route(
                moe,
                self.e_score_correction_bias.as_deref(),
                row,
                &mut scratch.router,
                &mut scratch.choices,
            );
        }
    }

    fn visit(&self, cpu: &Cpu, moe: &MoeConfig, x: Activations, scratch: &mut MoeScratch) {
        let MoeScratch { first_visit, visit_token, visit_row, gate, up, inner, down, activations, .. } =
            scratch;
        let (visits, width) = (visit_token.len(), moe.moe_intermediate_size);
        let gate = sized(gate, visits * width);
        let up = sized(up, visits * width);
        let mut jobs = self.jobs(|expert| &expert.gate, x, first_visit, visit_token, gate);
        jobs.extend(self.jobs(|expert| &expert.up, x, first_visit, visit_token, up));
        matmul_jobs(cpu, &mut jobs);
        let inner = sized(inner, visits * width);
        ops::swiglu(cpu, gate, up, inner);
        let formats = self.experts.iter().map(|expert| expert.down.format());
        let inner = activations.prepare(cpu, inner, width, formats);
        let down = sized(down, visits * x.cols());
        matmul_jobs(cpu, &mut self.jobs(|expert| &expert.down, inner, first_visit, visit_row, down));
    }

    /// One product for each expert that has visits: its matrix times rows `rows[its visits]` of `x`, into its part of
    /// `y`.
    fn jobs<'a>(
        &'a self,
        matrix: impl Fn(&Expert) -> &Matrix,
        x: Activations<'a>,
        first_visit: &[usize],
        rows: &'a [u32],
        mut y: &'a mut [f32],
    ) -> Vec<MatmulJob<'a>> {
        let mut jobs = Vec::with_capacity(self.experts.len().min(rows.len()));
        for (expert, visits) in self.experts.iter().zip(first_visit.windows(2)) {
            let rows = &rows[visits[0]..visits[1]];
            if rows.is_empty() {
                continue;
            }
            let weight = matrix(expert).view();
            let (own, rest) = y.split_at_mut(rows.len() * weight.rows());
            jobs.push(MatmulJob { weight, x, x_rows: RowSet::List(rows), y: own });
            y = rest;
        }
        jobs
    }

    /// Sums each token's visits, in the order in which the router ranked them.
    fn combine(&self, moe: &MoeConfig, rows: usize, scratch: &MoeScratch, output: &mut [f32]) {
        let hidden = output.len() / rows;
        let per_token = moe.num_experts_per_tok;
        for (token, out) in output.chunks_exact_mut(hidden).enumerate() {
            out.fill(0.0);
            let own = token * per_token..(token + 1) * per_token;
            for (choice, visit) in scratch.choices[own.clone()].iter().zip(&scratch.choice_visit[own]) {
                let visited = &scratch.down[visit * hidden..(visit + 1) * hidden];
                out.iter_mut().zip(visited).for_each(|(out, value)| *out += choice.weight * value);
            }
        }
    }
}

/// Counting sort of the choices by expert; within an expert tokens keep their order.
fn sort_by_expert(moe: &MoeConfig, rows: usize, scratch: &mut MoeScratch) {
    let MoeScratch { choices, first_visit, visit_token, choice_visit, visit_row, .. } = scratch;
    first_visit.clear();
    first_visit.resize(moe.n_routed_experts + 1, 0);
    for choice in choices.iter() {
        first_visit[choice.expert as usize + 1] += 1;
    }
    for expert in 0..moe.n_routed_experts {
        first_visit[expert + 1] += first_visit[expert];
    }
    debug_assert_eq!(choices.len(), rows * moe.num_experts_per_tok);
    visit_token.clear();
    visit_token.resize(choices.len(), 0);
    choice_visit.clear();
    // `first_visit` serves as the next free visit of each expert, and is moved back afterwards.
    for (index, choice) in choices.iter().enumerate() {
        let visit = &mut first_visit[choice.expert as usize];
        visit_token[*visit] = (index / moe.num_experts_per_tok) as u32;
        choice_visit.push(*visit);
        *visit += 1;
    }
    first_visit.rotate_right(1);
    first_visit[0] = 0;
    visit_row.clear();
    visit_row.extend(0..choices.len() as u32);
}

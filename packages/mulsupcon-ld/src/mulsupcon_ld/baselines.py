"""The networks of Tables 2 and 3 that are no loss of this package's own network: LaMP, MPVAE and C-GMVAE.

All three take vectors. Each has its loss below it, one number a row, (B,). Shapes: inputs (B, F) normalised;
labels (B, C) bool. In training the two variational networks see the labels, so ``forward`` takes them.
"""

# No `from __future__ import annotations`: huggingface_hub reads the constructors' annotations as types.
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmc_shared import Hierarchy
from hmc_shared.model import HierarchicalModel
from mulsupcon_ld.model import CARD
from mulsupcon_ld.networks import build_encoder


class Baseline(HierarchicalModel):
    """A network for vectors; ``encoder`` is what ``--freeze`` and ``--layer-decay`` are about."""

    library = "mulsupcon_ld"
    encoder: nn.Module

    def __init__(self, hierarchy: Hierarchy, input_shape: Sequence[int], coherent: bool) -> None:
        if len(input_shape) != 1:
            rule = "be another one for images: lamp, mpvae and c-gmvae take vectors"
            raise ValueError(f"`loss` should {rule}. Found {self.method!r}.")
        super().__init__(hierarchy, input_shape, coherent=coherent)


class Messages(nn.Module):
    """One layer of LaMP, from nodes (B, C, d) to nodes: messages of the input, then messages of each other.

    After both comes a feed-forward network; what is new is added, then normalised, as in Vaswani et al. 2017.
    """

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.from_input = nn.Linear(size, size)
        self.between, self.join = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.feed_forward = nn.ModuleList(
            nn.Sequential(nn.Linear(size, 2 * size), nn.ReLU(), nn.Linear(2 * size, size)) for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(4))
        self.dropout = nn.Dropout(dropout)

    def forward(self, nodes: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """The nodes before they hear of each other, and after. ``source`` (B, 1, d) is the input's node."""
        # The attention to a single node is 1, whatever the query is.
        nodes = self.norms[0](nodes + self.dropout(self.from_input(source)))
        nodes = first = self.norms[1](nodes + self.dropout(self.feed_forward[0](nodes)))
        q, k, v = self.between(nodes).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        drop = self.dropout.p if self.training else 0.0
        messages = F.scaled_dot_product_attention(q, k, v, dropout_p=drop).transpose(1, 2).flatten(2)
        nodes = self.norms[2](nodes + self.dropout(self.join(messages)))
        return first, self.norms[3](nodes + self.dropout(self.feed_forward[1](nodes)))


class LaMP(Baseline, **CARD):
    """LaMP (Lanchantin et al. 2019): labels are nodes that hear of the input and of each other.

    A label's logit is the product of its node with the embedding that the node began as. ``forward`` returns
    it after each half of each layer, (2 layers, B, C); all but the last have no gradient to the embedding.

    Args:
        hierarchy, input_shape, coherent: as in :class:`~mulsupcon_ld.model.MulSupCon`.
        width: d, size of a node, a multiple of ``heads``.
        layers, heads, dropout: of the transformer.

    Raises ValueError for images, and a width that is no multiple of the heads.
    """

    method = "lamp"

    def __init__(
        self,
        hierarchy: Hierarchy,
        input_shape: Sequence[int],
        width: int | None = None,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.2,
        coherent: bool = True,
    ) -> None:
        super().__init__(hierarchy, input_shape, coherent)
        size = width or 512
        if size % heads:
            raise ValueError(f"`width` should be a multiple of {heads}, the heads of lamp. Found {size}.")
        self.encoder = nn.Linear(self.input_shape[0], size)
        self.embedding = nn.Parameter(nn.init.xavier_normal_(torch.empty(len(hierarchy), size)))
        self.layers = nn.ModuleList(Messages(size, heads, dropout) for _ in range(layers))

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        source = self.encoder(inputs).unsqueeze(1)
        nodes, states = self.embedding.expand(inputs.shape[0], -1, -1), list[Tensor]()
        for layer in self.layers:
            states += layer(nodes, source)
            nodes = states[-1]
        between = [(state * self.embedding.detach()).sum(2) for state in states[:-1]]
        return torch.stack([*between, (nodes * self.embedding).sum(2)]).float()

    def logits(self, inputs: Tensor) -> Tensor:
        return self.constrained(self(inputs)[-1])


def lamp_loss(outputs: Tensor, labels: Tensor, *, intermediate_weight: float = 0.2) -> Tensor:
    """BCE of the last output + 0.2 x the sum of the others', each a mean over classes (public code).

    ``outputs`` (outputs, B, C) are logits.
    """
    targets = labels.to(outputs.dtype).expand_as(outputs)
    losses = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").mean(2)
    return losses[-1] + intermediate_weight * losses[:-1].sum(0)


class Gaussian(NamedTuple):
    """Normal distributions with diagonal covariance."""

    mean: Tensor  # (..., latent)
    log_variance: Tensor

    @classmethod
    def of(cls, parameters: Tensor) -> "Gaussian":
        """Of mean and log-variance (..., 2 latent)."""
        return cls(*parameters.float().chunk(2, -1))

    def sample(self, noise: Tensor) -> Tensor:
        """As a function of standard normal numbers, through which there is a gradient."""
        return self.mean + noise * (self.log_variance / 2).exp()

    def log_density(self, z: Tensor) -> Tensor:
        """ln N(z), (...)."""
        squares = (z - self.mean).square() / self.log_variance.exp()
        return -0.5 * (squares + self.log_variance + math.log(2 * math.pi)).sum(-1)


def gaussian_encoder(inputs: int, size: int, latent: int, dropout: float) -> nn.Sequential:
    """To the mean and log-variance (..., 2 latent) of a :class:`Gaussian`."""
    return nn.Sequential(
        *(nn.Linear(inputs, 2 * size), nn.ReLU(), nn.Dropout(dropout)),
        *(nn.Linear(2 * size, size), nn.ReLU(), nn.Dropout(dropout)),
        nn.Linear(size, 2 * latent),
    )


def kl_divergence(q: Gaussian, p: Gaussian) -> Tensor:
    """KL(q || p), (...), in closed form."""
    ratio = (q.log_variance - p.log_variance).exp()
    distance = (q.mean - p.mean).square() / p.log_variance.exp()
    return 0.5 * (ratio - 1 - ratio.log() + distance).sum(-1)


class ProbitOutputs(NamedTuple):
    """What MPVAE returns in training."""

    means: Tensor  # (2, B, C): of the probit, from z of the labels and from z of the features
    root: Tensor  # (C, C)
    kl: Tensor  # (B,)


class MPVAE(Baseline, **CARD):
    """MPVAE (Bai et al. 2020): z of the labels in training, of the features after it, decoded to a probit.

    Labels are the signs of normal numbers with the decoded means and the covariance R R^T + I, the same for
    all samples. The encoder of the labels takes the features, too, as does the decoder (public code).

    Predictions take the mean of z, and the probit's margins: P(y_j = 1) = Phi(m_j / sqrt(1 + |r_j|^2)), which
    the public code estimates by 10,000 draws.

    Args:
        hierarchy, input_shape, coherent: as in :class:`~mulsupcon_ld.model.MulSupCon`.
        width: units of the outer layers (256), half of those of the others.
        latent: size of z.
        dropout: of the two encoders.

    Raises ValueError for images.
    """

    method = "mpvae"

    def __init__(
        self,
        hierarchy: Hierarchy,
        input_shape: Sequence[int],
        width: int | None = None,
        latent: int = 50,
        dropout: float = 0.2,
        coherent: bool = True,
    ) -> None:
        super().__init__(hierarchy, input_shape, coherent)
        features, classes = self.input_shape[0], len(hierarchy)
        self.encoder, size = build_encoder("mlp", self.input_shape, width=width, dropout=dropout)
        self.prior = nn.Linear(size, 2 * latent)
        self.label_encoder = gaussian_encoder(features + classes, size, latent, dropout)
        self.decoder = nn.Sequential(
            *(nn.Linear(features + latent, size), nn.ReLU()),
            *(nn.Linear(size, 2 * size), nn.ReLU()),
            nn.Linear(2 * size, classes),
        )
        self.root = nn.Parameter(nn.init.xavier_uniform_(torch.empty(classes, classes)))

    def forward(self, inputs: Tensor, labels: Tensor) -> ProbitOutputs:
        prior = Gaussian.of(self.prior(self.encoder(inputs)))
        posterior = Gaussian.of(self.label_encoder(torch.cat([inputs, labels.to(inputs.dtype)], 1)))
        noise = torch.randn_like(prior.mean)  # of both
        means = torch.stack([self.decode(inputs, part.sample(noise)) for part in (posterior, prior)])
        return ProbitOutputs(means, self.root, kl_divergence(posterior, prior))

    def decode(self, inputs: Tensor, z: Tensor) -> Tensor:
        return self.decoder(torch.cat([inputs, z], 1)).float()

    def logits(self, inputs: Tensor) -> Tensor:
        means = self.decode(inputs, Gaussian.of(self.prior(self.encoder(inputs))).mean)
        return self.constrained(probit_logits(means / (1 + self.root.square().sum(1)).sqrt()))


def probit_logits(t: Tensor) -> Tensor:
    """The log-odds of Phi(t), rising with t; probabilities are off by 1.4e-4 at most (Bowling et al. 2009).

    A polynomial, so that it is finite in the tails and every runtime knows it.
    """
    return 1.5976 * t + 0.07056 * t**3


def probit_losses(means: Tensor, root: Tensor, labels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """-ln P(y) of the multivariate probit, and a ranking loss, (B,) each, estimated by draws (Eq. 3 to 5).

    P(y) = E_w prod_j Phi(s_j (m_j + r_j . w)), where s_j is 1 for labels and -1 for the others: what is left
    of the covariance, I, is in Phi. The ranking loss is the mean over pairs of a label i and another class k
    of E_w exp(-5 (Phi_i - Phi_k)) / 5, 0 without such pairs.

    Args:
        means: m, (B, C).
        root: R, (C, r), with rows r_j.
        labels: (B, C).
        noise: w, (draws, B, r), standard normal.
    """
    t = means + noise @ root.T
    log_likelihood = torch.special.log_ndtr(torch.where(labels, t, -t)).sum(2)
    p = torch.special.ndtr(t)
    low, high = (labels * (-5 * p).exp()).sum(2), (~labels * (5 * p).exp()).sum(2)
    pairs = labels.sum(1) * (~labels).sum(1)
    ranking = (low * high).mean(0) / (5 * pairs.clamp(min=1))
    return math.log(len(noise)) - log_likelihood.logsumexp(0), ranking


def mpvae_loss(
    outputs: ProbitOutputs,
    labels: Tensor,
    noise: Tensor,
    *,
    nll_weight: float,
    ranking_weight: float,
    kl_weight: float = 1.1,
) -> Tensor:
    """n x nll + c x ranking, of both branches and with the same noise, + 1.1 x KL (public code)."""
    nll, ranking = zip(*(probit_losses(m, outputs.root, labels, noise) for m in outputs.means), strict=True)
    return nll_weight * sum(nll) + ranking_weight * sum(ranking) + kl_weight * outputs.kl


class MixtureOutputs(NamedTuple):
    """What C-GMVAE returns in training."""

    logits: Tensor  # (3, B, C): of the labels, and of two draws for the features
    kl: Tensor  # (B,)


class CGMVAE(Baseline, **CARD):
    """C-GMVAE (Bai et al. 2022): a label is a normal distribution, the prior of a sample their mixture.

    A label's distribution is encoded from its embedding. What is decoded from features and z has length 1,
    and its products with the embeddings are the logits. For a sample without labels the mixture is of all.

    Args:
        hierarchy, input_shape, coherent: as in :class:`~mulsupcon_ld.model.MulSupCon`.
        width: units of the outer layers (256), half of those of the others.
        latent: size of z.
        dim: size of an embedding.
        dropout: of the two encoders.

    Raises ValueError for images.
    """

    method = "c-gmvae"

    def __init__(
        self,
        hierarchy: Hierarchy,
        input_shape: Sequence[int],
        width: int | None = None,
        latent: int = 50,
        dim: int = 256,
        dropout: float = 0.2,
        coherent: bool = True,
    ) -> None:
        super().__init__(hierarchy, input_shape, coherent)
        self.encoder, size = build_encoder("mlp", self.input_shape, width=width, dropout=dropout)
        self.posterior = nn.Linear(size, 2 * latent)
        self.embedding = nn.Parameter(nn.init.xavier_normal_(torch.empty(len(hierarchy), dim)))
        self.label_encoder = gaussian_encoder(dim, size, latent, dropout)
        self.decoder = nn.Sequential(
            nn.Linear(self.input_shape[0] + latent, 2 * size), nn.ReLU(), nn.Linear(2 * size, dim)
        )

    def forward(self, inputs: Tensor, labels: Tensor) -> MixtureOutputs:
        posterior = Gaussian.of(self.posterior(self.encoder(inputs)))
        components = Gaussian.of(self.label_encoder(self.embedding))
        z, other = (posterior.sample(torch.randn_like(posterior.mean)) for _ in range(2))
        are_of = labels | ~labels.any(1, keepdim=True)
        shares = are_of / are_of.sum(1, keepdim=True)
        logits = torch.stack([self.decode(inputs, part) for part in (shares @ components.mean, z, other)])
        return MixtureOutputs(logits, posterior.log_density(z) - log_mixture(z, components, are_of))

    def decode(self, inputs: Tensor, z: Tensor) -> Tensor:
        decoded = F.normalize(self.decoder(torch.cat([inputs, z], 1)).float(), dim=1)
        return (decoded @ self.embedding.T).float()

    def logits(self, inputs: Tensor) -> Tensor:
        z = Gaussian.of(self.posterior(self.encoder(inputs))).mean
        return self.constrained(self.decode(inputs, z))


def log_mixture(z: Tensor, components: Gaussian, are_of: Tensor) -> Tensor:
    """ln of the mean density at z (B, latent) of those of C components that ``are_of`` (B, C) a row, (B,)."""
    densities = components.log_density(z.unsqueeze(1)).masked_fill(~are_of, -torch.inf)
    return densities.logsumexp(1) - are_of.sum(1).log()


def c_gmvae_loss(
    outputs: MixtureOutputs, labels: Tensor, *, nll_weight: float = 0.5, kl_weight: float = 6.0
) -> Tensor:
    """0.5 x the sum of three BCE, each summed over classes, + 6 x KL + contrastive term (public code).

    KL is an estimate from one draw, ln q(z) - ln of the mixture. The contrastive term is the mean over the
    labels of a row, 0 without any, of -ln softmax of its logits over all classes: of the first two branches.
    """
    y = labels.to(outputs.logits.dtype)
    bce = F.binary_cross_entropy_with_logits(outputs.logits, y.expand_as(outputs.logits), reduction="none")
    log_shares = outputs.logits[:2].log_softmax(2).mean(0)
    contrastive = -(y * log_shares).sum(1) / y.sum(1).clamp(min=1)
    return nll_weight * bce.sum((0, 2)) + kl_weight * outputs.kl + contrastive

"""Hand-written networks in the style of public repositories, each with the inputs that it takes."""

from functools import partial

from torch.nn import utils
from torch.nn.utils import parametrizations

from branchfold.benchmarks.zoo_networks import (
    blocks,
    classics,
    generative,
    layers,
    sequences,
    several_inputs,
    transformers,
)
from branchfold.benchmarks.zoo_networks.examples import Example, fixed, images, normal

_IMAGES, _SQUARES = images(3, 32, 40), fixed(3, 32, 32)

NETWORKS: dict[str, Example] = {
    "lenet": Example(classics.LeNet, _SQUARES),
    "cifarnet": Example(classics.CifarNet, _SQUARES),
    "resnet_option_a": Example(classics.OptionAResNet, _SQUARES),
    "resnet_preact": Example(classics.PreActResNet, _IMAGES),
    "densenet": Example(classics.DenseNet, _IMAGES),
    "inception": Example(classics.InceptionNet, _IMAGES),
    "resnext": Example(classics.ResNeXt, _IMAGES),
    "se": Example(partial(blocks.AttentiveResNet, blocks.SELayer), _IMAGES),
    "eca": Example(partial(blocks.AttentiveResNet, blocks.ECALayer), _IMAGES),
    "cbam": Example(partial(blocks.AttentiveResNet, blocks.CBAM), _IMAGES),
    "res2net": Example(partial(blocks.Staged, blocks.Bottle2neck, 32), _IMAGES),
    "ghost": Example(partial(blocks.Staged, blocks.GhostBottleneck, 48), _IMAGES),
    "csp": Example(partial(blocks.Staged, blocks.CSPBlock), _IMAGES),
    "shuffle": Example(partial(blocks.Staged, blocks.ShuffleUnit), _IMAGES),
    "sknet": Example(partial(blocks.Staged, blocks.SKUnit), _IMAGES),
    "c2f": Example(blocks.C2fNet, images(3, 64, 96)),
    "unet": Example(generative.UNet, images(3, 42, 50)),
    "unet_bilinear": Example(partial(generative.UNet, bilinear=True), images(3, 48, 64)),
    "pix2pix": Example(generative.Pix2Pix, images(1, 32, 48)),
    "cyclegan": Example(generative.cycle_gan_generator, images(3, 32, 40)),
    "autoencoder": Example(generative.ConvAutoencoder, fixed(1, 28, 28)),
    "vae": Example(generative.VAE, _SQUARES),
    "dcgan": Example(generative.DCGenerator, fixed(32)),
    "espcn": Example(generative.ESPCN, images(1, 24, 30)),
    "edsr": Example(generative.EDSR, images(3, 16, 20)),
    "diffusion": Example(
        generative.DiffusionUNet, lambda batch, more: (normal(batch, 3, 16 + more, 24 + more), normal(batch).abs())
    ),
    "wavenet": Example(sequences.WaveNet, lambda batch, more: normal(batch, 16, 64 + more)),
    "tcn": Example(
        partial(sequences.TCN, parametrizations.weight_norm), lambda batch, more: normal(batch, 8, 40 + more)
    ),
    "tcn_hooks": Example(partial(sequences.TCN, utils.weight_norm), lambda batch, more: normal(batch, 8, 40 + more)),
    "m5": Example(sequences.M5, lambda batch, more: normal(batch, 1, 1600 + more)),
    "crnn": Example(sequences.CRNN, lambda batch, more: normal(batch, 1, 32, 60 + more)),
    "frames_gru": Example(sequences.FrameGRU, lambda batch, more: normal(batch, 4, 3, 24 + more, 32 + more)),
    "c3d": Example(sequences.C3D, lambda batch, more: normal(batch, 3, 6, 24 + more, 32 + more)),
    "unet3d": Example(sequences.UNet3D, lambda batch, more: normal(batch, 1, 8, 16 + more, 24 + more)),
    "vit": Example(transformers.ViT, _SQUARES),
    "torch_encoder": Example(transformers.TorchEncoder, images(3, 32, 48)),
    "convnext": Example(transformers.ConvNeXt, images(3, 32, 48)),
    "mixer": Example(transformers.Mixer, _SQUARES),
    "self_attention": Example(transformers.SelfAttentionNet, images(3, 32, 40)),
    "subclasses": Example(layers.SubclassNet, _IMAGES),
    "batch_norm_act": Example(layers.BatchNormActNet, _IMAGES),
    "functional": Example(layers.FunctionalNet, _IMAGES),
    "weight_standardised": Example(layers.WSNet, _IMAGES),
    "spectral_norm": Example(layers.SNDiscriminator, _SQUARES),
    "two_names": Example(layers.TwoNamesNet, _IMAGES),
    "shared_head": Example(layers.SharedHeadNet, images(3, 32, 48)),
    "image_and_table": Example(
        several_inputs.ImageAndTable, lambda batch, more: (normal(batch, 3, 24 + more, 32 + more), normal(batch, 6))
    ),
    "siamese": Example(
        several_inputs.Siamese,
        lambda batch, more: (normal(batch, 1, 24 + more, 32 + more), normal(batch, 1, 24 + more, 32 + more, seed=2)),
    ),
    "dict_input": Example(
        several_inputs.DictNet,
        lambda batch, more: (
            {"rgb": normal(batch, 3, 24 + more, 32 + more), "depth": normal(batch, 1, 24 + more, 32 + more)},
        ),
    ),
    "keywords": Example(
        several_inputs.KeywordNet,
        lambda batch, more: {
            "pixel_values": normal(batch, 3, 24 + more, 32 + more),
            "mask": normal(batch, 1, 24 + more, 32 + more),
        },
    ),
}

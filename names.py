"""The names that options have, each set once, with what each name means; nothing here needs torch.

A definition's keys, the registries of implementations and the command line all take their names from here. A new
schedule, sampler, initialisation, export format or data source is its implementation, entered in the table of its
kind, and its name here.
"""

# [task] name, beside the user's own
TASKS = {
    "classification": "one class of several for each example",
    "multilabel": "any number of labels for each example",
    "regression": "numbers for each example",
    "reconstruction": "the input again",
    "segmentation": "a class for each pixel",
}

# [study] objectives: one metric, the task's
METRICS = {
    "accuracy": "of classification: the share of examples that are right; maximised",
    "f1": "of multilabel: the mean over the examples of 2 · hits / (labels + given labels); maximised",
    "mae": "of regression: the mean absolute error; minimised",
    "psnr": "of reconstruction: the mean peak signal-to-noise ratio in dB; maximised",
    "miou": "of segmentation: the mean intersection over union of the classes; maximised",
    "metric": "of a task of the user's own",
}

# [study] objectives: costs, which are minimised
COSTS = {
    "macs": "multiply-accumulates of one example's forward pass",
    "parameters": "their number",
    "latency": "measured time of one example's forward pass",
}

# [model] factory, beside torchvision's networks and the user's own
NETWORKS = {
    "vgg16": "VGG-16 with BatchNorm for images of 32×32",
    "vgg_digits": "a small VGG for 8×8 digits",
    "resnet20": "ResNet-20 for images of 32×32",
    "resnet56": "ResNet-56 for images of 32×32",
    "unet": "a U-Net of three resolutions, a class for each pixel",
    "autoencoder": "a convolutional auto-encoder, down to a quarter of the resolution",
}

# [data] name
DATA_SETS = {
    "digits": "scikit-learn's 1,797 digits of 8×8",
    "shapes": "3,000 drawn images of 32×32 with a mask each: discs, squares and triangles on noise",
    "mnist": "70,000 handwritten digits of 28×28",
    "fashion-mnist": "70,000 pieces of clothing of 28×28",
    "cifar10": "60,000 colour images of 32×32 in 10 classes",
    "cifar100": "60,000 colour images of 32×32 in 100 classes",
}

# [data] augment, and the choices of [space.training] augment
AUGMENTATIONS = {
    "none": "images as they are",
    "flip": "mirrored with probability one half, where that keeps the class",
    "shift-flip": "shifted by up to an eighth of their size and, where that keeps the class, mirrored",
    "random-resized-crop": "a part of 8 to 100 % of the area, brought to full size, and mirrored likewise",
    "cut-out": "a square of half the side is black",
    "trivial": "one random operation of random strength (TrivialAugmentWide); three channels or one",
}

# [data] resize
RESIZES = {
    "crop": "the middle of the image, its shorter side brought to size",
    "stretch": "the whole image, its sides brought to size each",
    "pad": "the whole image, its longer side brought to size, black around it",
}

# [data] normalisation
NORMALISATIONS = {
    "measured": "mean and standard deviation of the training images",
    "weights": "what torchvision or timm states for the network's published weights",
    "none": "pixels from 0 to 1",
}

# [space.schedule] shape
SHAPES = {
    "instant": "the branches take over at once",
    "step": "α falls in equal steps",
    "linear": "α falls evenly",
    "multiplicative": "α falls in steps, each by the same factor",
    "exponential": "α decays exponentially",
    "cosine": "α falls along half a cosine",
    "polynomial": "α falls as a power of what is left of the window",
    "sigmoid": "α falls mainly about a centre",
    "knee": "α falls fast above a threshold and slowly below it",
    "knots": "α falls along five free knots",
    "plateau": "α falls whenever the validation loss has stopped improving",
}

# [space.stages] order
ORDERS = {
    "forward": "from the first group to the last",
    "backward": "from the last group to the first",
    "sensitivity": "what loses least first",
    "cost": "what saves most first",
    "scores": "by a number for each group that is searched",
}

# [space.stages] windows
WINDOWS = {
    "shared": "the groups of a stage fade together",
    "own": "the groups of a stage fade one after another",
}

# [space.keep] per
KEEP_PER = {
    "network": "one share for all groups",
    "resolution": "one share for the groups of each resolution",
    "layer": "one share for each group",
    "sensitivity": "each group's share follows from its error curve",
}

# [space.initialisation] method, and `init` of add_branches
INITIALISATIONS = {
    "least-squares": "branches are fitted to data",
    "selection": "channels stay as they are, the others are given up",
    "kaiming": "branches are random",
}

# [space.initialisation] channels, and `channels` of add_branches
CHOICES = {
    "greedy": "the channels that explain most of what the readers still miss",
    "l1": "those with the largest absolute weights",
    "bn-scale": "those that BatchNorms scale most",
    "random": "drawn",
}

# [space.blending] mode
BLENDINGS = {
    "convex": "α·original + (1 − α)·branch",
    "probability": "each example hears, in each group, the original with probability α, else the branch",
    "uniform": "each example hears, in each group, a blend by a factor drawn from 0 … α",
}

# [space.training] rates
RATES = {
    "one-cycle": "rises to its peak and falls to almost 0",
    "cosine": "falls along half a cosine",
    "linear": "falls evenly",
}

# [space.training] restarts
RESTARTS = {
    "none": "the learning rate has one course",
    "stages": "it begins anew at the end of every stage",
    "alpha": "it begins anew at every fall of a stepwise α, too",
}

# [space.training] distillation_loss
DISTANCES = {
    "divergence": "Kullback-Leibler divergence at a temperature",
    "squares": "squared error of the logits",
}

# [trial] precision; and [space.training] precision, where "auto" is what [trial] has
PRECISIONS = {
    "auto": "the faster of both here, timed once per study",
    "float32": "single precision",
    "bfloat16": "mixed precision",
}

# [trial] memory_format
MEMORY_FORMATS = {
    "auto": "the faster of both here, timed once per study",
    "contiguous": "each channel's pixels together",
    "channels_last": "each pixel's channels together",
}

# [search] sampler
SAMPLERS = {
    "tpe": "tree-structured Parzen estimators",
    "gp": "Gaussian processes",
    "cma-es": "covariance matrix adaptation; needs the package cmaes",
    "nsga2": "genetic, for several objectives",
    "nsga3": "genetic, for many objectives",
    "random": "independent draws",
    "grid": "each combination once; every range needs a step",
}

# [search] pruner: Optuna's early stopping of trials
PRUNERS = {
    "median": "ends trials below the median of the others, and untrained networks without hope",
    "hyperband": "ends trials in successive halvings",
    "wilcoxon": "ends trials that are worse than the best one by a signed-rank test",
    "none": "all trials run to their end",
}

# [search] recipes, tried before what the sampler proposes
RECIPES = {
    "fold-at-once": "least-squares branches folded before the first step, then fine-tuned on images as they are",
    "taught": "the same at a higher rate, on mirrored images, taught by the baseline",
    "probability": "least-squares branches blended by probability over half of the trial",
    "report": "random branches, α = 0.9, 0.8, … 0 over the whole trial",
}

# --format of `branchfold export`
EXPORT_FORMATS = {
    "safetensors": "tensors, and in the header all that rebuilding the network needs",
    "state-dict": "the plain tensors by name, for torch.load",
    "pt2": "the program of torch.export, for torch without the network's code",
    "onnx": "ONNX, for onnxruntime and others; needs `pip install onnx onnxscript onnxruntime`",
}

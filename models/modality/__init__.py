"""Pairs of images in different modalities, with known truth, to train matchers on.

``draw_scene_pairs`` needs nothing but a generator: places are drawn (``scenes``) and shown as two sensors
would (``renderings``). ``make_pairs`` cuts, disturbs and warps apart any aligned images, real ones included
(arrays in memory, 0 to 1, NaN for nodata), and changes the modality of a single image by its pixels
(``looks``). ``label_matches`` then says which keypoints of the two sides belong together. For training that
resumes to the same numbers, start the generators from ``np.random.default_rng([seed, step])``.
"""
